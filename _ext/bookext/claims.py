"""Verdicts on the page: the badge, the table of claims, and prose that leans on a verdict."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pandas as pd
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from bnlib.book.numbers import effect, number, p_value

LOG = logging.getLogger(__name__)
LEDGER = "chapters/ledger"
COLUMNS = {
    "statement": "Claim",
    "chapter": "Chapter",
    "sources": "Said by",
    "prediction": "Prediction",
    "estimate": "Estimate [95% interval]",
    "n": "n",
    "p": "p",
    "verdict": "Verdict",
}


@lru_cache(maxsize=1)
def ledger() -> pd.DataFrame:
    """Read the ledger, computed once per build."""
    import bnlib

    return bnlib.ledger()


def row_of(claim: str) -> pd.Series | None:
    """Row of a claim, or None where the ledger has no such id."""
    rows = ledger()
    found = rows[rows["id"] == claim]
    return None if found.empty else found.iloc[0]


class ledger_ref(nodes.Inline, nodes.TextElement):  # noqa: N801 - docutils names nodes in lower case
    """Inline content that links to the claim's row in the ledger, where that page exists."""


def badge(verdict: str) -> nodes.inline:
    """Coloured word for a verdict."""
    kind = verdict.replace(" ", "-")
    return nodes.inline(verdict, verdict, classes=["verdict", f"verdict-{kind}"])


def linked(claim: str, *children: nodes.Node) -> ledger_ref:
    """Wrap inline nodes in a link to the ledger."""
    return ledger_ref("", "", *children, claim=claim)


class LinkToLedger(SphinxPostTransform):
    """Turn each `ledger_ref` into a reference, or into its content if there is no ledger page."""

    default_priority = 8

    def run(self, **kwargs: Any) -> None:
        """Replace the nodes of this document."""
        for node in list(self.document.findall(ledger_ref)):
            if LEDGER not in self.env.found_docs:
                node.replace_self(node.children)
                continue
            here = self.env.docname
            page = "" if here == LEDGER else self.app.builder.get_relative_uri(here, LEDGER)
            ref = nodes.reference("", "", *node.children, internal=True, classes=["ledger-link"])
            ref["refuri"] = f"{page}#claim-{node['claim']}"
            node.replace_self(ref)


class Verdict(SphinxRole):
    """``{verdict}`` with a claim's id: its computed verdict as a badge."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look the verdict up."""
        row = row_of(self.text)
        if row is None:
            LOG.warning("the ledger has no claim %r", self.text, location=self.get_location())
            return [nodes.literal(self.text, self.text)], []
        return [linked(self.text, badge(str(row["verdict"])))], []


class Leans(SphinxDirective):
    """``{leans} CLAIM VERDICT``: prose that holds only while the claim has that verdict."""

    has_content = True
    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Compare the verdict the prose assumes with the computed one."""
        claim, wanted = self.arguments[0], self.arguments[1].replace("-", " ")
        row = row_of(claim)
        found = "unknown claim" if row is None else str(row["verdict"])
        if found != wanted:
            LOG.warning(
                "this passage leans on %r being %r, but the ledger says %r: rewrite it",
                claim,
                wanted,
                found,
                location=self.get_location(),
            )
        body = nodes.container(classes=["leans"])
        self.state.nested_parse(self.content, self.content_offset, body)
        title = f"This passage holds while the claim {claim} is {wanted}."
        mark = nodes.inline("", "◆", classes=["leans-mark"])
        # Inside the last paragraph, so that the mark ends a line of text and not the box.
        paragraphs = [child for child in body.children if isinstance(child, nodes.paragraph)]
        if paragraphs:
            paragraphs[-1] += [nodes.Text("\u00a0"), linked(claim, mark)]
        body["title"] = title
        return [body]


def _effect(row: pd.Series) -> str:
    """Estimate with interval and unit, in one line; rounding errors have no interval."""
    if row.get("kind") == "exact":
        text = number(row["estimate"])
    else:
        text = effect(row["estimate"], row["ci_low"], row["ci_high"])
    unit = row.get("unit")
    if not isinstance(unit, str) or not unit or text == "–":
        return text
    return text + (unit if unit == "%" else f" {unit}")


class Claims(SphinxDirective):
    """``{claims}``: a table of claims, all of them or some, with computed verdicts."""

    has_content = False
    option_spec = {  # noqa: RUF012 - docutils' own protocol
        "chapter": directives.unchanged,
        "ids": directives.unchanged,
        "columns": directives.unchanged,
        "ledger": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        names = self.options.get("columns", "statement, estimate, n, p, verdict")
        columns = [name.strip() for name in names.split(",")]
        if unknown := set(columns) - set(COLUMNS):
            LOG.warning("no such column: %s", ", ".join(unknown), location=self.get_location())
            return []
        return [self._table(self._rows(), columns)]

    def _rows(self) -> pd.DataFrame:
        rows = ledger()
        if "chapter" in self.options:
            rows = rows[rows["chapter"] == self.options["chapter"]]
        if "ids" in self.options:
            ids = [item.strip() for item in self.options["ids"].split(",")]
            missing = set(ids) - set(rows["id"])
            for claim in sorted(missing):
                LOG.warning("the ledger has no claim %r", claim, location=self.get_location())
            rows = rows.set_index("id", drop=False).loc[[i for i in ids if i not in missing]]
        if rows.empty:
            LOG.warning("a table of claims without claims", location=self.get_location())
        return rows

    def _table(self, rows: pd.DataFrame, columns: list[str]) -> nodes.table:
        table = nodes.table(classes=["claims"])
        group = nodes.tgroup(cols=len(columns))
        widths = {"statement": 44, "estimate": 22, "sources": 18}
        group += [nodes.colspec(colwidth=widths.get(name, 10)) for name in columns]
        head = nodes.row()
        head += [nodes.entry("", nodes.paragraph("", COLUMNS[name])) for name in columns]
        body = nodes.tbody()
        for _, row in rows.iterrows():
            line = nodes.row()
            # Only the ledger's rows carry the anchor that badges link to.
            if "ledger" in self.options:
                line["ids"] = [f"claim-{row['id']}"]
            line += [self._cell(row, name) for name in columns]
            body += line
        group += [nodes.thead("", head), body]
        table += group
        return table

    def _cell(self, row: pd.Series, name: str) -> nodes.entry:
        entry = nodes.entry(classes=[f"c-{name}"])
        if name == "verdict":
            mark = (
                [] if not row.get("edited") else [nodes.inline("", " edited", classes=["edited"])]
            )
            entry += nodes.paragraph("", "", linked(row["id"], badge(str(row["verdict"]))), *mark)
            return entry
        if name == "estimate":
            entry += nodes.paragraph("", _effect(row))
            return entry
        if name in ("n", "p"):
            text = number(row["n"], ".0f") if name == "n" else p_value(row["p"])
            entry += nodes.paragraph("", text)
            return entry
        self.state.nested_parse(StringList([self._markdown(row, name)], "ledger"), 0, entry)
        return entry

    def _markdown(self, row: pd.Series, name: str) -> str:
        """Text of a cell that is itself MyST: prose, citations, a link to the chapter."""
        if name == "sources":
            keys = ",".join(row["sources"])
            return f"{{cite}}`{keys}`" if keys else ""
        if name == "chapter":
            doc = f"chapters/{row['chapter']}"
            exists = doc in self.env.found_docs
            return f"{{doc}}`/{doc}`" if exists else str(row["chapter"])
        return str(row[name])


def setup(app: Sphinx) -> None:
    """Register roles, directives and the link to the ledger."""
    app.add_node(ledger_ref)
    app.add_post_transform(LinkToLedger)
    app.add_role("verdict", Verdict())
    app.add_directive("leans", Leans)
    app.add_directive("claims", Claims)
    app.connect("builder-inited", lambda app: ledger.cache_clear())
