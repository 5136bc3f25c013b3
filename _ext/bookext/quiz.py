"""Questions with answers that need neither a kernel nor JavaScript.

Each option is a native ``<details>``: choosing it opens its explanation, and nothing is shown
before. A script only remembers which option was chosen first.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bookext.claims import row_of

LOG = logging.getLogger(__name__)
MARK = re.compile(r"^\[(x|X| |\?[a-z ]+)\]\s*")


class quiz(nodes.General, nodes.Element):  # noqa: N801 - docutils names nodes in lower case
    """A question: children are the question's paragraph, then options."""


class quiz_option(nodes.General, nodes.Element):  # noqa: N801
    """One option: first child its text, the rest its explanation; `answer` says how it fared."""


class Quiz(SphinxDirective):
    """``{quiz}`` and ``{predict}``: a question, options marked ``[x]``, ``[ ]``, ``[?verdict]``."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"claim": directives.unchanged}  # noqa: RUF012 - docutils' own protocol

    def run(self) -> list[nodes.Node]:
        """Parse question and options."""
        node = quiz(kind=self.name, claim=self.options.get("claim", ""))
        node["quiz_id"] = f"quiz-{self.env.new_serialno('quiz')}"
        question = nodes.container()
        self.state.nested_parse(StringList([self.arguments[0]], "question"), 0, question)
        node += question
        holder = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, holder)
        for child in holder.children:
            if isinstance(child, nodes.bullet_list):
                node += [self._option(item) for item in child.children]
            else:
                question += child
        self._check(node)
        return [node]

    def _option(self, item: nodes.Element) -> quiz_option:
        first = item.children[0] if item.children else None
        text = first.children[0] if isinstance(first, nodes.paragraph) and first.children else None
        found = MARK.match(text.astext()) if isinstance(text, nodes.Text) else None
        if found is None or not isinstance(first, nodes.paragraph):
            self._warn("an option begins with [x], [ ] or [?verdict]")
            return quiz_option("", *item.children, answer="wrong")
        first[0] = nodes.Text(text.astext()[found.end() :])
        return quiz_option("", *item.children, answer=self._answer(found[1]))

    def _answer(self, mark: str) -> str:
        if not mark.startswith("?"):
            return "right" if mark in "xX" else "wrong"
        row = row_of(self.options.get("claim", ""))
        if row is None:
            self._warn(f"[{mark}] needs :claim: with the id of a claim")
            return "open"
        if row["verdict"] == mark[1:]:
            return "right"
        # What the evidence leaves open makes no prediction wrong.
        return "open" if row["verdict"] in ("not run", "inconclusive") else "wrong"

    def _check(self, node: quiz) -> None:
        options = list(node.findall(quiz_option))
        answers = {item["answer"] for item in options}
        if len(options) < 2:
            self._warn("a question needs two options or more")
        if any(len(item.children) < 2 for item in options):
            self._warn("every option needs an explanation: a further paragraph, indented")
        if "right" not in answers and "open" not in answers:
            self._warn("no option of this question is right")

    def _warn(self, text: str) -> None:
        LOG.warning("%s: %s", self.name, text, location=self.get_location())


WORDS = {
    ("quiz", "right"): "Right.",
    ("quiz", "wrong"): "No.",
    ("predict", "right"): "That is what came out.",
    ("predict", "wrong"): "That is not what came out.",
    ("predict", "open"): "Not settled yet.",
    ("quiz", "open"): "Not settled yet.",
}
TITLES = {"quiz": "Check yourself", "predict": "Predict first"}


def word(node: quiz_option) -> str:
    """Say how the option fared, in words: colour alone tells nothing to some."""
    return WORDS[node.parent["kind"], node["answer"]]


def _visit_quiz(self: Any, node: quiz) -> None:
    claim = f' data-claim="{escape(node["claim"])}"' if node["claim"] else ""
    label = f"{node['quiz_id']}-title"
    self.body.append(
        f'<div class="bn-quiz bn-{node["kind"]}" role="group" aria-labelledby="{label}"{claim}>'
        f'<p class="bn-quiz-title" id="{label}">{TITLES[node["kind"]]}</p>'
    )


def _depart_quiz(self: Any, node: quiz) -> None:
    self.body.append("</div>")


def _visit_option(self: Any, node: quiz_option) -> None:
    """Write the option's text into the summary; the visitor goes on with the explanation."""
    summary = node.children[0]
    self.body.append(f'<details class="bn-option bn-{node["answer"]}"><summary><span>')
    for child in summary.children:
        child.walkabout(self)
    self.body.append(f'</span></summary><div class="bn-answer"><p class="bn-word">{word(node)}</p>')
    # The first child is written already.
    node.remove(summary)


def _depart_option(self: Any, node: quiz_option) -> None:
    self.body.append("</div></details>")


def _latex_option(self: Any, node: quiz_option) -> None:
    self.body.append("\n\n$\\circ$ ")


def _skip(self: Any, node: nodes.Node) -> None:
    pass


def setup(app: Sphinx) -> None:
    """Register nodes and directives."""
    plain = (_skip, _skip)
    app.add_node(quiz, html=(_visit_quiz, _depart_quiz), latex=plain, text=plain)
    app.add_node(
        quiz_option, html=(_visit_option, _depart_option), latex=(_latex_option, _skip), text=plain
    )
    app.add_directive("quiz", Quiz)
    app.add_directive("predict", Quiz)
