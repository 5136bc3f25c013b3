"""The chapters as notebooks: executed once by `make book`, judged here.

Stubs must fail and solutions must pass; the generated `.ipynb` must stand on their own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import lacks, require

ROOT = Path(__file__).parents[1]
require("myst_nb")
nbformat = require("nbformat")

import execute  # noqa: E402 - after it is known to be there
import homes  # noqa: E402
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
    def test_takes_less_than_a_minute_of_one_core(self, path: Path) -> None:
        assert 0 < read(path).metadata["seconds"] < SECONDS


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
            (tmp_path / name).write_text("1", "utf-8")
        (tmp_path / "requirements.lock").write_text("torch==2.13.0\n", "utf-8")
        return tmp_path

    @pytest.mark.parametrize("name", ["bnlib/a.py", "results/x.json", "requirements.lock"])
    def test_changes_with_what_cells_use(self, tree: Path, name: str) -> None:
        before = cache.folder(tree)
        (tree / name).write_text("2", "utf-8")
        assert cache.folder(tree) != before

    def test_stays_when_only_prose_changes(self, tree: Path) -> None:
        before = cache.folder(tree)
        (tree / "chapters" / "c.md").write_text("2", "utf-8")
        (tree / "bnlib" / "__pycache__").mkdir()
        (tree / "bnlib" / "__pycache__" / "a.pyc").write_text("2", "utf-8")
        assert cache.folder(tree) == before


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code that uses the tools, in a folder."""
    kept = {name: value for name, value in os.environ.items() if name not in homes.PLACES}
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tools")))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.slow
class TestStderr:
    """Where the line lies between a page's own output on stderr and a machine's."""

    PAGES = (
        "import sys; print('oops', file=sys.stderr)",
        "import warnings; warnings.warn('take care', stacklevel=1)",
        "import logging; logging.warning('look here')",
    )
    MACHINES = (
        "import os; os.write(2, b'native code speaks'); print('shown')",
        "import subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-c', 'import os; os.write(2, bytes([33]))'])",
    )

    @staticmethod
    def run(folder: Path, *sources: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Execute a page of these cells and print what each put out; the last is a solution."""
        code = (
            "import nbformat.v4, pathlib, execute\n"
            f"cells = [nbformat.v4.new_code_cell(source) for source in {sources!r}]\n"
            "if '### BEGIN SOLUTION' in cells[-1].source: cells[-1].metadata.tags = ['solution']\n"
            "page = nbformat.v4.new_notebook(cells=cells)\n"
            "done, _ = execute.run('page', page, pathlib.Path())\n"
            "print([[(out.name, out.text) for out in cell.outputs] for cell in done.cells])\n"
        )
        return python(code, folder, **environment)

    def test_what_a_page_writes_is_a_fault_of_its_cell(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "x = 1", *self.PAGES)
        assert done.returncode != 0
        assert "execute.StderrError" in done.stderr
        for number, text in enumerate(("oops", "take care", "look here"), 2):
            said = rf"code cell {number} \(import .*\) wrote to stderr:\n.*{text}"
            assert re.search(said, done.stderr)

    def test_what_lies_beneath_is_not_on_the_page(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, *self.MACHINES)
        assert done.stdout == "[[('stdout', 'shown\\n')], []]\n"
        assert done.stderr == "native code speaks!"

    def test_a_stub_may_complain(self, tmp_path: Path) -> None:
        source = (
            "import sys\n### BEGIN SOLUTION\nsys = None\n### END SOLUTION\n"
            "if sys:\n    print('not yet', file=sys.stderr)"
        )
        done = self.run(tmp_path, source)
        assert done.stdout == "[[('stderr', 'not yet\\n')], []]\n", done.stderr

    def test_a_home_that_cannot_be_written_leaves_no_trace(self, tmp_path: Path) -> None:
        """The fonts are listed before the page is executed, in a folder that can be written."""
        (tmp_path / "file").write_text("no folder can be made in a file", "utf-8")
        source = (
            "import os, pathlib\n"
            "fonts = pathlib.Path(os.environ['MPLCONFIGDIR']).glob('fontlist-*.json')\n"
            "print(len(list(fonts)))\n"
            "import matplotlib.pyplot as plt; plt.figure().canvas.draw(); plt.close()"
        )
        done = self.run(tmp_path, source, HOME=str(tmp_path / "file" / "home"))
        assert (done.stdout, done.stderr) == ("[[('stdout', '1\\n')]]\n", "")


class TestHomes:
    """Folders that programs want: the user's own where they can be written."""

    @pytest.fixture(autouse=True)
    def bare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "environ", os.environ.copy())
        for name in homes.PLACES:
            os.environ.pop(name, None)

    def test_a_good_home_is_left_alone(self, tmp_path: Path) -> None:
        os.environ["HOME"] = str(tmp_path)
        before = dict(os.environ)
        homes.settle()
        assert os.environ == before

    def test_one_folder_of_a_good_home(self, tmp_path: Path) -> None:
        os.environ["HOME"] = str(tmp_path)
        (tmp_path / ".cache").write_text("in the way", "utf-8")
        homes.settle()
        assert os.environ["HOME"] == str(tmp_path)
        assert [name for name in homes.PLACES if name in os.environ] == ["XDG_CACHE_HOME"]

    @pytest.mark.parametrize("name", ["IPYTHONDIR", "MPLCONFIGDIR"])
    def test_a_variable_that_names_a_wrong_place(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").write_text("in the way", "utf-8")
        os.environ.update({"HOME": str(tmp_path), name: str(tmp_path / "file" / "x")})
        homes.settle()
        assert homes.can_be_written(Path(os.environ[name]))

    def test_no_home_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nobody() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", nobody)
        homes.settle()
        assert Path(os.environ["HOME"]).is_dir()


@pytest.mark.slow
class TestKeeps:
    """Only pages that went well are kept; the others run again."""

    GOOD, BAD = "print('fine')", "import sys; print('oops', file=sys.stderr)"
    HEAD = "---\njupytext:\n  text_representation:\n    format_name: myst\n---\n# T\n\n"

    def write(self, root: Path, name: str, source: str) -> None:
        text = f"{self.HEAD}```{{code-cell}} ipython3\n{source}\n```\n"
        (root / f"{name}.md").write_text(text, "utf-8")

    CODE = """
from pathlib import Path
import sys, execute

failed = execute.main(Path(), jobs=1)
print("missing:", *execute.missing(execute.chapters(Path()), Path()))
sys.exit(failed)
"""

    def test_a_failed_page_runs_again(self, tmp_path: Path) -> None:
        toc = "root: a\nchapters:\n- file: b\n- file: c\n"
        (tmp_path / "_toc.yml").write_text(toc, "utf-8")
        for name, source in (("a", self.GOOD), ("b", self.BAD), ("c", "1 / 0")):
            self.write(tmp_path, name, source)
        done = python(self.CODE, tmp_path)
        assert done.returncode == 2
        assert f"FAILED b\ncode cell 1 ({self.BAD}) wrote to stderr:\noops" in done.stderr
        assert "FAILED c" in done.stderr
        assert done.stdout.endswith("missing: b c\n")
        for name in ("b", "c"):
            self.write(tmp_path, name, self.GOOD)
        done = python(self.CODE, tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "3 chapters with code, 2 to execute" in done.stdout
        assert done.stdout.endswith("missing:\n")


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
        "import matplotlib.pyplot as plt\nfrom bnlib.book import page\npage.setup()\n"
        "fig, ax = plt.subplots()\npage.glue('n', 3)\n"
        "page.figure(fig, 'f', alt='An empty pair of axes.')"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    client(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [out for out in notebook.cells[0].outputs if out.output_type == "display_data"]
    assert [sorted(out["data"]) for out in shown] == [["image/svg+xml", "text/plain"]]
