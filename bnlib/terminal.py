"""Text on any terminal, file or pipe: no encoding is too narrow, and a reader may go away."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from contextlib import suppress
from typing import Any, TextIO, cast

from rich.console import Console

STAND_INS = {"∞": "inf", "√": "sqrt", "×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "≤": "<=",
             "≥": ">=", "≈": "~", "→": "->", "±": "+-", "⟨": "<", "⟩": ">", "’": "'", "‘": "'",
             "“": '"', "”": '"'}  # fmt: skip


def prepare() -> None:
    """Let the standard streams write a stand-in for each character that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # there may be none, or a program's own
            stream.reconfigure(errors="bnlib.stand-in")


def stand_in(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII for what could not be encoded, and where to go on: an error handler of `codecs`.

    What has no stand-in is escaped, as by the handler ``backslashreplace``.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_stand_in(character) for character in text), error.end


def _stand_in(character: str) -> str:
    if character in STAND_INS:
        return STAND_INS[character]
    mark = "^" * unicodedata.decomposition(character).startswith("<super>")  # 10² is not 102
    parts = unicodedata.normalize("NFKD", character)  # é is e and an accent, … is three dots
    return mark + "".join(_ascii(part) for part in parts if not unicodedata.combining(part))


def _ascii(character: str) -> str:
    name = unicodedata.name(character, "")
    if name.startswith("GREEK") and " LETTER " in name:  # γ is "GREEK SMALL LETTER GAMMA"
        return name.split(" LETTER ")[1].split()[0].lower()
    return character.encode("ascii", "backslashreplace").decode()


codecs.register_error("bnlib.stand-in", stand_in)


class Messages:
    """A stream for messages: that nobody can read them is no reason to end a computation."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text if that can be done."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what waits if that can be done."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console(*, stderr: bool = False) -> Console:
    """Return a console on a standard stream, which shows text as it is, whatever its brackets.

    In a file or pipe a table is as wide as it must be: what one looks for stands on one line.
    """
    stream = sys.stderr if stderr else sys.stdout
    fixed = stream is None or stream.isatty() or "COLUMNS" in os.environ
    file = cast("TextIO", Messages(stream)) if stderr and stream is not None else None
    width = None if fixed else 1000
    return Console(file=file, stderr=stderr, width=width, markup=False, emoji=False)


def legible(text: str, console: Console) -> str:
    """Return the text as the console will show it: a table must know how wide its cells are."""
    return text.encode(console.encoding, "bnlib.stand-in").decode(console.encoding)


def say(console: Console, text: str) -> None:
    """Print one line as it is: rich would wrap it, and read what stands in brackets as a style."""
    console.print(text, soft_wrap=True, markup=False, emoji=False)


def flush(stream: TextIO | None) -> None:
    """Write what waits in a stream.

    Raises
    ------
    OSError
        If it cannot be written; it is given up then, so that nothing is said of it again at the
        end of the process.
    """
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]  # it is not None here
        raise
