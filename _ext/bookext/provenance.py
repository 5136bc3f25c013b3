"""Where a figure comes from: the line under it, and the experiment's source one click away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bookext.details import details
from bookext.repository import ROOT, address

LOG = logging.getLogger(__name__)


def human(seconds: float) -> str:
    """Seconds in the unit a reader thinks in."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _commit(sha: str) -> list[nodes.Node]:
    short = nodes.literal(sha[:7], sha[:7])
    repo = address()
    if repo is None:
        return [nodes.Text("commit "), short]
    return [nodes.Text("commit "), nodes.reference("", "", short, refuri=f"{repo}/commit/{sha}")]


def _seeds(value: Any) -> str:
    count = len(value) if isinstance(value, list | tuple) else int(value)
    return f"{count} seeds"


class Provenance(SphinxDirective):
    """``{provenance} EXPERIMENT``: what was run, its cost, from which commit, how to redo it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the experiment's provenance."""
        from bnlib.evidence.store import provenance

        name = self.arguments[0]
        try:
            facts = provenance(name)
        except Exception as error:
            LOG.warning("no provenance of %r: %s", name, error, location=self.get_location())
            return []
        return [nodes.paragraph("", "", *self._words(name, facts), classes=["provenance"])]

    @staticmethod
    def _words(name: str, facts: dict[str, Any]) -> list[nodes.Node]:
        cost = f"{human(float(facts['core_seconds']))} on one core"
        tuning = facts.get("tuning_runs", 0)
        runs = f"{facts['runs']} runs" + (f" and {tuning} to tune rates" if tuning else "")
        counts = f"{runs}, {_seeds(facts['seeds'])}, {cost}, {facts['date'][:10]}, "
        command = f"bnlib run {name}"
        dirty = "" if facts.get("clean", True) else " (tree not clean)"
        return [
            nodes.strong("", name),
            nodes.Text(f": {counts}"),
            *_commit(str(facts["commit"])),
            nodes.Text(f"{dirty}. Redo it: "),
            nodes.literal(command, command),
        ]


class ProtocolSource(SphinxDirective):
    """``{protocol-source} EXPERIMENT``: source of the protocol and of its claims, folded."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the two files."""
        name = self.arguments[0].replace("-", "_")
        paths = [*(ROOT / "bnlib" / "experiments").glob(f"*/{name}.py")]
        if not paths:
            LOG.warning("no such experiment: %s", name, location=self.get_location())
            return []
        claims = paths[0].with_name(f"{name}_claims.py")
        found: list[nodes.Node] = []
        for title, path in (("protocol", paths[0]), ("claims", claims)):
            shown = path.relative_to(ROOT).as_posix()
            self.env.note_dependency(str(path))
            found.append(_folded(path, f"The {title}: {shown}"))
        return found


def _folded(path: Path, title: str) -> details:
    text = path.read_text(encoding="utf-8")
    block = nodes.literal_block(text, text, language="python")
    return details("", block, summary=title, classes=["source"])


def setup(app: Sphinx) -> None:
    """Register the two directives."""
    app.add_directive("provenance", Provenance)
    app.add_directive("protocol-source", ProtocolSource)
