"""Each chapter as an executed ``.ipynb``, beside the site: what Colab, Binder and Jupyter open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from bookext import stubs
from bookext.cache import ROOT, folder
from bookext.details import details
from bookext.exercises import is_solution
from bookext.markdown import block, blocks
from bookext.repository import address

PREFIX = "application/papermill.record/"

_INSTALL = """\
# Does nothing where bnlib is already here.
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("bnlib") is None:
    spec = os.environ.get("BNLIB_SPEC"){fallback}
    if not spec:
        raise SystemExit(
            "bnlib is missing: in a checkout of the book run `python -m pip install -e .`, "
            "then restart the kernel"
        )
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", spec], check=True)
"""


def install_cell(repository: str | None) -> str:
    """Source of a notebook's first cell.

    The package index knows another project by the name of our module, so the cell never asks
    for it there: it takes ``$BNLIB_SPEC``, else the repository, else says what to do.
    """
    fallback = f' or "git+{repository}"' if repository else ""
    return _INSTALL.format(fallback=fallback).rstrip("\n")


def notebook_name(docname: str) -> str:
    """File name, without suffix, of a page's notebook."""
    return docname.rsplit("/", 1)[-1]


def has_notebook(env: BuildEnvironment, docname: str) -> bool:
    """Whether a page has code cells, and so a notebook."""
    return "kernelspec" in env.metadata.get(docname, {})


def executed_path(docname: str, root: Path = ROOT) -> Path:
    """Where the executed copy of a chapter is kept."""
    return folder(root) / "notebooks" / f"{docname}.ipynb"


def _shown(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Keep what the cell shows outside the book: figures yes, named numbers no."""
    kept = []
    for output in outputs:
        record = output.get("metadata", {}).get("scrapbook")
        if record is None:
            kept.append(output)
            continue
        data = {kind.removeprefix(PREFIX): value for kind, value in output["data"].items()}
        if "image/svg+xml" in data:
            data.pop("application/pdf", None)
            kept.append(nbformat.v4.new_output("display_data", data=data))
    return kept


class Writer:
    """Collects the cells of one notebook while it walks the page."""

    def __init__(self, code: list[NotebookNode], order: list[int]) -> None:
        self.code = dict(zip(order, code, strict=True))
        self.cells: list[NotebookNode] = []
        self.pending: list[str] = []

    def flush(self) -> None:
        """End the current Markdown cell."""
        text = "\n\n".join(part for part in self.pending if part.strip())
        if text:
            self.cells.append(new_markdown_cell(text))
        self.pending = []

    def add_code(self, index: int, shown: nodes.Element | None = None) -> None:
        """Add code cell `index`, and before it those that the page does not show."""
        for position in sorted(i for i in self.code if i <= index):
            self.flush()
            self.cells.append(_code_cell(self.code.pop(position)))
        if shown is not None:
            _resolve_markdown(self.cells[-1], shown)

    def walk(self, node: nodes.Node, level: int) -> None:
        """Visit the parts of a page in order."""
        if isinstance(node, nodes.section):
            self.flush()
            for child in node.children:
                self.walk(child, level + 1)
        elif isinstance(node, nodes.container) and node.get("nb_element") == "cell_code":
            self.add_code(node["cell_index"], node)
        elif isinstance(node, nodes.literal_block) and node.get("stub"):
            self.flush()
            self.cells.append(new_code_cell(node.astext(), metadata={"tags": ["raises-exception"]}))
        elif self._holds_cells(node):
            for child in node.children:
                self.walk(child, level)
        else:
            self.pending.append(block(node, level))

    @staticmethod
    def _holds_cells(node: nodes.Node) -> bool:
        if not isinstance(node, details | nodes.container):
            return False
        return any(
            isinstance(part, nodes.container) and part.get("nb_element") == "cell_code"
            for part in node.findall()
        )


def _code_cell(cell: NotebookNode) -> NotebookNode:
    metadata: dict[str, Any] = {}
    source = cell.source
    if is_solution(cell.metadata):
        metadata = {"tags": ["solution"], "jupyter": {"source_hidden": True}}
        source = "# Solution\n" + stubs.solution(source)
    elif "hide-input" in cell.metadata.get("tags", []):
        metadata = {"jupyter": {"source_hidden": True}, "cellView": "form"}
    outputs = _shown(cell.get("outputs", []))
    return new_code_cell(source, outputs=outputs, metadata=metadata)


def _resolve_markdown(cell: NotebookNode, shown: nodes.Element) -> None:
    """Put what the page shows in place of Markdown output, whose citations only Sphinx reads."""
    outputs = [out for out in cell.outputs if "text/markdown" in out.get("data", {})]
    parts = [part for part in shown.children if _is_output(part)]
    if len(outputs) == 1 and parts:
        text = blocks([child for part in parts for child in part.children])
        outputs[0]["data"] = {"text/markdown": text}


def _is_output(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output"


def convert(
    doctree: nodes.document, executed: NotebookNode, repository: str | None
) -> NotebookNode:
    """Make the notebook of one page from its resolved document and its executed cells."""
    order = [index for index, cell in enumerate(executed.cells) if cell.cell_type == "code"]
    writer = Writer([executed.cells[index] for index in order], order)
    for child in doctree.children:
        writer.walk(child, 1)
    writer.add_code(len(executed.cells))
    writer.flush()
    first = new_code_cell(install_cell(repository), metadata={"tags": ["install"]})
    cells = [first, *writer.cells]
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"  # the same bytes at each build
    return new_notebook(cells=cells, metadata={"kernelspec": executed.metadata["kernelspec"]})


def _number(env: BuildEnvironment, doctree: nodes.document, docname: str) -> None:
    """Note on each figure, formula and theorem the number that the site gives it."""
    numbers = {
        key: ".".join(map(str, number))
        for kinds in env.toc_fignumbers.get(docname, {}).values()
        for key, number in kinds.items()
    }
    for node in doctree.findall(nodes.Element):
        known = [numbers[key] for key in node.get("ids", []) if key in numbers]
        if known:
            node["bn_number"] = known[0]


def _write(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.format != "html" or not has_notebook(app.env, docname):
        return
    executed = executed_path(docname, Path(app.srcdir))
    if not executed.is_file():
        # Built without `make book`: the source of the cells, without their outputs.
        executed = Path(app.outdir).parent / "jupyter_execute" / f"{docname}.ipynb"
    _number(app.env, doctree, docname)
    notebook = convert(doctree, nbformat.read(executed, 4), address())
    target = Path(app.outdir) / "notebooks" / f"{notebook_name(docname)}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def _prune(app: Sphinx, error: Exception | None) -> None:
    """Remove notebooks of pages that are no more."""
    if error is not None or app.builder.format != "html":
        return
    names = {notebook_name(doc) for doc in app.env.found_docs if has_notebook(app.env, doc)}
    for path in (Path(app.outdir) / "notebooks").glob("*.ipynb"):
        if path.stem not in names:
            path.unlink()


def setup(app: Sphinx) -> None:
    """Write the notebook whenever its page is written, last of all handlers."""
    app.connect("build-finished", _prune)
    app.connect("doctree-resolved", _write, priority=900)
