"""The chapters as notebooks: executed once by `make book`, judged here.

Stubs must fail and solutions must pass; the generated `.ipynb` must stand on their own.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import lacks, require

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "_ext"), str(ROOT / "tools")]

require("myst_nb")
nbformat = require("nbformat")

import execute  # noqa: E402 - tools are no package
from bookext import cache, notebooks, stubs  # noqa: E402

EXECUTED = sorted(cache.folder(ROOT).rglob("*.stubs.ipynb"))
PUBLISHED = sorted((ROOT / "_build" / "html" / "notebooks").glob("*.ipynb"))
NONE = "make book"
SECONDS = 60


def by_name(paths: list[Path]) -> Any:
    ids = [path.name.removesuffix(".ipynb") for path in paths]
    return pytest.mark.parametrize("path", paths or [Path(NONE)], ids=ids or [NONE])


def read(path: Path) -> Any:
    if not path.is_file():
        lacks("the executed chapters: run `make book`")
    return nbformat.read(path, 4)


def errors(cell: Any) -> list[str]:
    return [out["ename"] for out in cell.get("outputs", []) if out["output_type"] == "error"]


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


class TestExecuted:
    def test_every_chapter_was_executed(self) -> None:
        if not EXECUTED:
            lacks("the executed chapters: run `make book`")
        done = {path.name.removesuffix(".stubs.ipynb") for path in EXECUTED}
        assert {name.rsplit("/", 1)[-1] for name in execute.chapters(ROOT)} <= done

    @by_name(EXECUTED)
    def test_stubs_fail_and_solutions_pass(self, path: Path) -> None:
        cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
        for cell, after in zip(cells, [*cells[1:], None], strict=True):
            if "stub" in tags(cell):
                assert errors(cell), f"this stub passes:\n{cell.source}"
                assert after is not None
                assert "solution" in tags(after)
            elif "raises-exception" not in tags(cell):
                assert errors(cell) == [], cell.source

    @by_name(EXECUTED)
    def test_stubs_fail_in_their_check_and_not_before(self, path: Path) -> None:
        for cell in read(path).cells:
            if "stub" in tags(cell):
                # A name or a syntax that is wrong would fail for every answer.
                assert not {"SyntaxError", "NameError", "ImportError"} & set(errors(cell))

    @by_name(EXECUTED)
    def test_takes_less_than_a_minute(self, path: Path) -> None:
        assert read(path).metadata["seconds"] < SECONDS


class TestPublished:
    @by_name(PUBLISHED)
    def test_is_a_valid_notebook(self, path: Path) -> None:
        notebook = read(path)
        nbformat.validate(notebook)
        assert notebook.metadata.kernelspec.name == "python3"

    @by_name(PUBLISHED)
    def test_installs_first(self, path: Path) -> None:
        first = read(path).cells[0]
        assert 'find_spec("bnlib")' in first.source
        assert "pip install bnlib" not in json.dumps(read(path))

    @by_name(PUBLISHED)
    def test_has_no_markup_that_jupyter_cannot_read(self, path: Path) -> None:
        for cell in read(path).cells:
            if cell.cell_type == "markdown":
                prose = cell.source.replace("```", "")
                for rest in (
                    ":::",
                    "{glue",
                    "{cite",
                    "{numref",
                    "{prf",
                    "{eq}",
                    "{verdict",
                    "{term",
                ):
                    assert rest not in prose, cell.source

    @by_name(PUBLISHED)
    def test_code_cells_are_the_chapters(self, path: Path) -> None:
        published = read(path)
        pages = {name.rsplit("/", 1)[-1]: page for name, page in execute.chapters(ROOT).items()}
        chapter = pages[path.stem]
        wanted = [cell.source for cell in chapter.cells if cell.cell_type == "code"]
        found = [c for c in published.cells[1:] if c.cell_type == "code"]
        kept = [c for c in found if "raises-exception" not in tags(c) or "stub" not in tags(c)]
        sources = {cell.source.removeprefix("# Solution\n") for cell in kept}
        assert {stubs.solution(source) for source in wanted} <= sources

    @by_name(PUBLISHED)
    def test_figures_say_what_they_show(self, path: Path) -> None:
        for cell in read(path).cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if any(kind.startswith("image/") for kind in data):
                    assert len(data["text/plain"].split()) >= 4
                    assert not data["text/plain"].startswith("<Figure")


class TestInstallCell:
    """The first cell asks pip for the right thing, or for nothing."""

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        made: list[list[str]] = []
        monkeypatch.setattr(subprocess, "run", lambda command, **_: made.append(command))
        monkeypatch.delenv("BNLIB_SPEC", raising=False)
        return made

    @pytest.fixture
    def absent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    def test_does_nothing_where_the_package_is(self, calls: list[list[str]]) -> None:
        exec(notebooks.install_cell("https://example.org/book"), {})
        assert calls == []

    @pytest.mark.usefixtures("absent")
    def test_takes_the_given_place(
        self, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BNLIB_SPEC", "/a/wheel.whl")
        exec(notebooks.install_cell("https://example.org/book"), {})
        assert [command[-1] for command in calls] == ["/a/wheel.whl"]

    @pytest.mark.usefixtures("absent")
    def test_takes_the_repository(self, calls: list[list[str]]) -> None:
        exec(notebooks.install_cell("https://example.org/book"), {})
        assert [command[-1] for command in calls] == ["git+https://example.org/book"]

    @pytest.mark.usefixtures("absent")
    def test_says_what_to_do_where_no_address_is_known(self, calls: list[list[str]]) -> None:
        with pytest.raises(SystemExit, match="in a checkout of the book run"):
            exec(notebooks.install_cell(None), {})
        assert calls == []


class TestStubs:
    SOURCE = (
        "def f(x):\n    ### BEGIN SOLUTION\n    y = x\n\n    return y\n    ### END SOLUTION\n\n\n"
        "assert f(1) == 1"
    )

    def test_a_stub_leaves_a_place_to_write(self) -> None:
        text = stubs.stub(self.SOURCE)
        assert text == "def f(x):\n    ...  # your code here\n\n\nassert f(1) == 1"
        with pytest.raises(AssertionError):
            exec(text, {})

    def test_a_solution_runs(self) -> None:
        text = stubs.solution(self.SOURCE)
        assert "###" not in text
        exec(text, {})

    def test_two_places(self) -> None:
        assert stubs.stub(self.SOURCE + "\n" + self.SOURCE).count("your code here") == 2

    @pytest.mark.parametrize(
        "source",
        ["x = 1", "### BEGIN SOLUTION\nx = 1", "x = 1\n### END SOLUTION"],
        ids=["unmarked", "not closed", "not opened"],
    )
    def test_wrong_marks_are_refused(self, source: str) -> None:
        with pytest.raises(ValueError, match="BEGIN SOLUTION"):
            stubs.stub(source)


class TestCache:
    """Executed cells are forgotten when what they depend on changes, and only then."""

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        for name in ("bnlib/a.py", "results/x.json", "chapters/c.md"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("1")
        (tmp_path / "requirements.lock").write_text("torch==2.13.0\n")
        return tmp_path

    @pytest.mark.parametrize("name", ["bnlib/a.py", "results/x.json", "requirements.lock"])
    def test_changes_with_what_cells_use(self, tree: Path, name: str) -> None:
        before = cache.folder(tree)
        (tree / name).write_text("2")
        assert cache.folder(tree) != before

    def test_stays_when_only_prose_changes(self, tree: Path) -> None:
        before = cache.folder(tree)
        (tree / "chapters" / "c.md").write_text("2")
        (tree / "bnlib" / "__pycache__").mkdir()
        (tree / "bnlib" / "__pycache__" / "a.pyc").write_text("2")
        assert cache.folder(tree) == before


def test_stub_runs_before_its_solution() -> None:
    cell = nbformat.v4.new_code_cell(TestStubs.SOURCE, metadata={"tags": ["solution"]})
    ready = execute.with_stubs(nbformat.v4.new_notebook(cells=[cell]))
    assert [tags(c) for c in ready.cells] == [["stub", "raises-exception"], ["solution"]]


def test_pages_in_the_order_of_the_contents() -> None:
    toc = {"root": "index", "parts": [{"chapters": [{"file": "a", "sections": [{"file": "b"}]}]}]}
    assert execute.pages(toc) == ["index", "a", "b"]


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:a/b.git", "https://github.com/a/b"),
        ("ssh://git@github.com/a/b", "https://github.com/a/b"),
        ("https://github.com/a/b.git", "https://github.com/a/b"),
        ("https://user:token@github.com/a/b", "https://github.com/a/b"),
        ("/srv/git/b.git", None),
        ("", None),
    ],
)
def test_the_address_comes_from_the_remote_or_from_nowhere(
    monkeypatch: pytest.MonkeyPatch, remote: str, address: str | None
) -> None:
    from bookext import repository

    monkeypatch.setenv("BNLIB_REPOSITORY", remote)
    repository.address.cache_clear()
    try:
        assert repository.address() == address
        links = repository.launches("x")
        assert all("notebooks" in link and "x.ipynb" in link for link in links.values())
        assert bool(links) == (address is not None)
    finally:
        repository.address.cache_clear()


def test_figures_are_shown_in_a_plain_notebook(tmp_path: Path) -> None:
    """Outside the book a chapter's cells show figures, and numbers stay silent."""
    client = require("nbclient").NotebookClient
    source = (
        "import os; os.environ.pop('BNLIB_BOOK', None)\n"
        "import matplotlib.pyplot as plt\nfrom bnlib import page\npage.setup()\n"
        "fig, ax = plt.subplots()\npage.glue('n', 3)\n"
        "page.figure(fig, 'f', alt='An empty pair of axes.')"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    client(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [out for out in notebook.cells[0].outputs if out.output_type == "display_data"]
    assert [sorted(out["data"]) for out in shown] == [["image/svg+xml", "text/plain"]]
