"""Where executed cells are kept: a folder named by everything that a cell's output depends on.

The execution cache compares code cells only, so a change in the package or in a stored result
would leave old numbers on the page. A folder per state of both cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

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


def _set_cache(app: Sphinx, config: Config) -> None:
    config["nb_execution_cache_path"] = str(folder(Path(app.srcdir)))


def setup(app: Sphinx) -> None:
    """Point the notebook reader at the folder."""
    app.connect("config-inited", _set_cache)
