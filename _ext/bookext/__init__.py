"""The book's own Sphinx extension: what its chapters need beyond MyST, one subject a file."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from bookext import (
    cache,
    claims,
    details,
    exercises,
    figures,
    joined,
    notebooks,
    provenance,
    quiz,
    references,
    theme,
    widgets,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register every part."""
    parts = (
        details, joined, cache, claims, exercises, figures,
        provenance, quiz, references, theme, notebooks, widgets,
    )  # fmt: skip
    for part in parts:
        part.setup(app)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
