"""Formulas keep their punctuation: no line begins with a full stop or ends with a bracket.

A browser may break a line on either side of an inline formula, which it takes for a picture.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

BEFORE, AFTER = re.compile(r"[(\[“\"]+$"), re.compile(r"^[.,;:!?)\]”\"’]+")


def _split(node: nodes.Node | None, edge: re.Pattern[str]) -> str:
    """Take from a text what matches at its edge, and return that."""
    found = edge.search(node.astext()) if isinstance(node, nodes.Text) else None
    if node is None or found is None:
        return ""
    rest = edge.sub("", node.astext())
    node.parent.replace(node, [nodes.Text(rest)] if rest else [])
    return found[0]


class Join(SphinxPostTransform):
    """Put each inline formula and the punctuation next to it into one unbreakable span."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Go through the formulas of a page."""
        for math in list(self.document.findall(nodes.math)):
            siblings, at = math.parent.children, math.parent.index(math)
            before = _split(siblings[at - 1] if at else None, BEFORE)
            at = math.parent.index(math)
            after = _split(siblings[at + 1] if at + 1 < len(siblings) else None, AFTER)
            if before or after:
                span = nodes.inline(classes=["joined"])
                math.replace_self(span)
                span += [nodes.Text(before), math, nodes.Text(after)]


def setup(app: Sphinx) -> None:
    """Register the transform."""
    app.add_post_transform(Join)
