"""``{stub}`` shows an exercise's beginning; the cell that solves it is executed and folded."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from myst_nb.core.read import read_myst_markdown_notebook
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bookext import stubs
from bookext.details import details

LOG = logging.getLogger(__name__)


def is_solution(metadata: dict[str, object]) -> bool:
    """Whether a cell's metadata mark it as the solution of an exercise."""
    tags = metadata.get("tags")
    return isinstance(tags, list) and "solution" in tags


def solutions(path: Path) -> dict[str, NotebookNode]:
    """Solution cells of a text notebook, by the label of their exercise."""
    notebook = read_myst_markdown_notebook(path.read_text(encoding="utf-8"))
    cells = notebook.cells if notebook else []
    return {
        str(cell.metadata.get("exercise", "")): cell for cell in cells if is_solution(cell.metadata)
    }


class Stub(SphinxDirective):
    """``{stub} LABEL``: the solution cell of that exercise, without its solution."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Find the cell on this page."""
        label = self.arguments[0]
        cell = solutions(Path(self.env.doc2path(self.env.docname))).get(label)
        if cell is None:
            message = "no cell on this page has `:tags: [solution]` and `:exercise: %s`"
            LOG.warning(message, label, location=self.get_location())
            return []
        try:
            text = stubs.stub(cell.source)
        except ValueError as error:
            LOG.warning("exercise %r: %s", label, error, location=self.get_location())
            return []
        return [nodes.literal_block(text, text, language="python", classes=["stub"], stub=label)]


def _fold_solutions(app: Sphinx, doctree: nodes.document) -> None:
    for cell in list(doctree.findall(nodes.container)):
        if cell.get("nb_element") != "cell_code" or not is_solution(cell["cell_metadata"]):
            continue
        for block in cell.findall(nodes.literal_block):
            text = stubs.solution(block.astext())
            block.children = [nodes.Text(text)]
            block.rawsource = text
        wrapper = details("", summary="Solution", classes=["solution"])
        cell.replace_self(wrapper)
        wrapper += cell


def setup(app: Sphinx) -> None:
    """Register the directive and the folding."""
    app.add_directive("stub", Stub)
    app.connect("doctree-read", _fold_solutions)
