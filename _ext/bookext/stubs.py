"""Exercises are cut from their solutions, so that the two cannot drift apart."""

from __future__ import annotations

import re

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_BLOCK = re.compile(rf"^([ \t]*){BEGIN}[ \t]*\n.*?^[ \t]*{END}[ \t]*$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(rf"^[ \t]*(?:{BEGIN}|{END})[ \t]*\n?", re.MULTILINE)


def stub(source: str) -> str:
    """Replace each marked solution by a place to write one.

    Raises
    ------
    ValueError
        If nothing is marked, or a marker has no partner.
    """
    text, count = _BLOCK.subn(r"\1...  # your code here", source)
    if count == 0 or BEGIN in text or END in text:
        raise ValueError(f"a solution is marked by {BEGIN} and {END}, each on its own line")
    return text


def solution(source: str) -> str:
    """Leave the solution, drop the marker lines."""
    return _MARKER.sub("", source)
