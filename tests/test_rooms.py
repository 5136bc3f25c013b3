"""The package's rooms: which may know which, and how many doors the house has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bnlib

PACKAGE = Path(bnlib.__file__).parent
#: What each room may import of the others. The library, at the package's root, knows none.
ARROWS = {
    "library": set(),
    "lab": {"library"},
    "evidence": {"library"},
    "experiments": {"evidence", "lab", "library"},
    "book": {"experiments", "evidence", "lab", "library"},
}
#: The command and the facade open every room, and only when they are asked to.
DOORS = {"__init__", "__main__", "cli"}
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem not in DOORS or path.parent != PACKAGE
]


def room(module: str) -> str:
    """Return the room of a module of the package."""
    first = module.split(".")[1]
    return first if first in ARROWS else "library"


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> set[str]:
    """Return the modules and names of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "bnlib" and "." in name}


def test_there_are_these_rooms_and_few_modules_beside_them() -> None:
    rooms = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert rooms == ARROWS.keys() - {"library"}
    assert len(list(PACKAGE.glob("*.py"))) <= 14


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_arrows_point_one_way(path: Path) -> None:
    here = room(module_of(path) + ".")
    others = {room(name) for name in imported(ast.parse(path.read_text("utf-8")))} - {here}
    assert others <= ARROWS[here]


def test_an_arrow_that_points_back_is_seen() -> None:
    text = "def f():\n    from bnlib.book import page\n    import bnlib.lab.data as d\n"
    assert {room(name) for name in imported(ast.parse(text))} == {"book", "lab"}
    assert room("bnlib.layers.BatchNorm1d") == "library"


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_a_chapter_knows_no_other_chapter(path: Path) -> None:
    name = module_of(path)
    if not name.startswith("bnlib.experiments."):
        return
    chapters = {
        n.split(".")[2]
        for n in imported(ast.parse(path.read_text("utf-8")))
        if ".experiments." in n
    }
    folders = {p.name for p in (PACKAGE / "experiments").iterdir() if p.is_dir()}
    assert chapters & folders <= {name.split(".")[2]}


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_no_room_passes_on_what_lives_elsewhere(path: Path) -> None:
    """The library may: `functional` is the public face of the formulas."""
    tree = ast.parse(path.read_text("utf-8"))
    passed_on = {
        alias.asname
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    lists = [n for n in tree.body if isinstance(n, ast.Assign) and "__all__" in ast.unparse(n)]
    assert not passed_on
    assert not lists or room(module_of(path) + ".") == "library"
