"""A folded block: native ``<details>``, so that it opens without JavaScript and by keyboard."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class details(nodes.General, nodes.Element):  # noqa: N801 - docutils names nodes in lower case
    """Children shown once the reader opens the `summary`."""


def _visit_html(self: Any, node: details) -> None:
    classes = " ".join(["bn-fold", *node.get("classes", [])])
    ids = f' id="{node["ids"][0]}"' if node.get("ids") else ""
    self.body.append(
        f'<details class="{classes}"{ids}><summary>{escape(node["summary"])}</summary>'
    )
    self.body.append('<div class="bn-fold-body">')


def _depart_html(self: Any, node: details) -> None:
    self.body.append("</div></details>")


def _visit_latex(self: Any, node: details) -> None:
    self.body.append("\n\n\\textbf{" + self.encode(node["summary"]) + "}\n\n")


def _depart_other(self: Any, node: details) -> None:
    pass


def _visit_text(self: Any, node: details) -> None:
    pass


class Answer(SphinxDirective):
    """``{answer}``: the answer to an exercise on paper, folded; an argument names the fold."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = {"class": directives.class_option}  # noqa: RUF012 - docutils' own protocol

    def run(self) -> list[nodes.Node]:
        """Parse the content into a fold."""
        title = self.arguments[0] if self.arguments else "Answer"
        node = details(summary=title, classes=["answer", *self.options.get("class", [])])
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def setup(app: Sphinx) -> None:
    """Register the node and ``{answer}``."""
    app.add_node(
        details,
        html=(_visit_html, _depart_html),
        latex=(_visit_latex, _depart_other),
        text=(_visit_text, _depart_other),
    )
    app.add_directive("answer", Answer)
