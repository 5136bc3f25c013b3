"""Where executed cells are kept: a folder named by everything that a cell's output depends on.

The execution cache compares code cells only, so a change in the package or in a stored result
would leave old numbers on the page. A folder per state of both cannot. Sphinx only reads it: it
would keep a page that printed an error, and show it again in the next build.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from jupyter_cache import get_cache
from myst_nb.core.read import read_myst_markdown_notebook
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parents[2]

#: What the output of a chapter's cells depends on, besides the cells.
DATA = ("bnlib", "results", "requirements.lock")


def files(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Files under the named folders, sorted, without what tools leave behind."""
    for name in names:
        path = root / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for item in found:
            inside = item.relative_to(root).parts
            left_behind = any(part.startswith(".") or part == "__pycache__" for part in inside)
            if item.is_file() and not left_behind:
                yield item


def digest(root: Path, names: Iterable[str]) -> str:
    """Hash of names and contents of the files under `names`."""
    total = hashlib.sha256()
    for path in files(root, names):
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def folder(root: Path = ROOT) -> Path:
    """Folder of the execution cache for the present state of package and results."""
    return root / "_build" / f"cells-{digest(root, DATA)[:16]}"


def notebook(path: Path) -> NotebookNode | None:
    """Read a page with code exactly as the build reads it; None for any other file."""
    if path.suffix != ".md" or not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    if "format_name: myst" not in text:
        return None
    found = read_myst_markdown_notebook(text)
    return found if any(cell.cell_type == "code" for cell in found.cells) else None


def holds(page: NotebookNode, root: Path = ROOT) -> bool:
    """Whether the cache has a page as it is now, executed."""
    try:
        get_cache(str(folder(root))).match_cache_notebook(page)
    except KeyError:
        return False
    return True


def _set_cache(app: Sphinx, config: Config) -> None:
    config["nb_execution_cache_path"] = str(folder(Path(app.srcdir)))


def _refuse_to_execute(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Stop before a page is read that the notebook reader would execute."""
    if app.config["nb_execution_mode"] != "cache":
        return
    pages = {name: notebook(Path(env.doc2path(name))) for name in names}
    lost = [name for name, page in pages.items() if page and not holds(page, Path(app.srcdir))]
    if lost:
        raise ExtensionError(f"not executed: {', '.join(lost)}; run `make book`, which does it")


def setup(app: Sphinx) -> None:
    """Point the notebook reader at the folder, and let it only read."""
    app.connect("config-inited", _set_cache)
    app.connect("env-before-read-docs", _refuse_to_execute)
