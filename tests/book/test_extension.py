"""The book's Sphinx extension: what must fail a build does, and says where and why."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import require

ROOT = Path(__file__).parents[2]
for module in ("sphinx", "myst_nb", "sphinx_design"):
    require(module)

from bookext import claims, provenance  # noqa: E402 - after it is known to be there
from sphinx.application import Sphinx  # noqa: E402
from sphinx.errors import ExtensionError  # noqa: E402
from sphinx.util.docutils import docutils_namespace, patch_docutils  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Of Sphinx's and docutils' own making, at versions that the lock fixes.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""

LEDGER = pd.DataFrame(
    [
        ("fast", "speed", "BN is fast.", 3.2, 2.1, 4.4, 1e-5, 10.0, "supported", False),
        ("noisy", "noise", "BN is $\\sigma$-noisy.", None, None, None, None, None, "not run", True),
    ],
    columns=[
        "id",
        "chapter",
        "statement",
        "estimate",
        "ci_low",
        "ci_high",
        "p",
        "n",
        "verdict",
        "edited",
    ],
)
LEDGER["sources"] = [[], []]
LEDGER["prediction"] = "yes"
LEDGER["unit"] = "times"


class Built:
    """A small book, built; its warnings and its pages."""

    def __init__(self, folder: Path, pages: dict[str, str], **options: object) -> None:
        source = folder / "source"
        source.mkdir()
        names = [name for name in pages if name != "index"]
        toctree = "\n```{toctree}\n" + "\n".join(names) + "\n```\n"
        for name, text in {"index": "# Book\n", **pages}.items():
            path = source / f"{name}.md"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + (toctree if name == "index" and names else ""), "utf-8")
        warnings = io.StringIO()
        settings = {
            "extensions": ["myst_nb", "sphinx_design", "bookext"],
            "myst_enable_extensions": ["colon_fence", "dollarmath"],
            "nb_execution_mode": "off",
            "html_theme": "basic",
            **options,
        }
        with patch_docutils(), docutils_namespace():
            app = Sphinx(
                str(source), None, str(folder / "html"), str(folder / "trees"), "html",
                settings, status=None, warning=warnings,
            )  # fmt: skip
            app.build()
        self.warnings = warnings.getvalue()
        self.folder = folder / "html"

    def page(self, name: str = "index") -> str:
        """HTML of a page."""
        return (self.folder / f"{name}.html").read_text("utf-8")

    def notebook(self, name: str) -> dict[str, object]:
        """Read a generated notebook."""
        found = json.loads((self.folder / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
        assert isinstance(found, dict)
        return found


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Build pages given as keywords or as a mapping."""
    import bnlib

    monkeypatch.setattr(bnlib, "ledger", lambda: LEDGER, raising=False)
    monkeypatch.setenv("BNLIB_REPOSITORY", "")
    monkeypatch.delenv("BNLIB_BOOK", raising=False)
    claims.ledger.cache_clear()
    yield lambda pages, **options: Built(tmp_path, pages, **options)
    claims.ledger.cache_clear()


def quiz(*options: str, head: str = ":::{quiz} Which?\n") -> str:
    body = "\n\n".join(f"- {option}\n\n  Because." for option in options)
    return f"# T\n\n{head}\n{body}\n:::\n"


class TestFails:
    """Each of these pages must not reach a reader."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "# T\n\n:::{leans} fast refuted\nSo it is slow.\n:::",
                "leans on 'fast' being 'refuted'",
            ),
            ("# T\n\n:::{leans} fats supported\nSo.\n:::", "'unknown claim'"),
            ("# T\n\n{verdict}`fats`", "the ledger has no claim 'fats'"),
            ("# T\n\n:::{claims}\n:ids: fats\n:::", "the ledger has no claim 'fats'"),
            ("# T\n\n:::{claims}\n:chapter: none\n:::", "a table of claims without claims"),
            ("# T\n\n:::{claims}\n:columns: mood\n:::", "no such column: mood"),
            ("# T\n\n:::{provenance} nothing\n:::", "no provenance of 'nothing'"),
            ("# T\n\n:::{protocol-source} nothing\n:::", "no such experiment"),
            ("# T\n\n```{stub} ex-none\n```", "no cell on this page"),
            (HEADER + "# T\n\n{glue:text}`none`", "No key 'none'"),
            (HEADER + "# T\n\n:::{glue:figure} none\nCaption.\n:::", "No key 'none'"),
            ("# T\n\n![](x.svg)", "image without alternative text"),
            (quiz("[ ] a", "[ ] b"), "no option of this question is right"),
            (quiz("[x] a"), "two options or more"),
            (quiz("[x] a", "b"), "an option begins with"),
            (":::{quiz} W?\n- [x] a\n- [ ] b\n:::", "every option needs an explanation"),
            (quiz("[?supported] a", "[ ] b"), "needs :claim:"),
        ],
        ids=lambda value: value if " " in value and "#" not in value else "",
    )
    def test_and_says_why(self, build, text: str, message: str) -> None:
        assert message in build({"index": text}).warnings

    def test_a_page_that_is_not_executed(self, build) -> None:
        text = HEADER + "# T\n\n```{code-cell} ipython3\nprint(1)\n```\n"
        with pytest.raises(ExtensionError, match="not executed: page; run `make book`"):
            build({"page": text}, nb_execution_mode="cache")

    def test_an_unmarked_solution(self, build) -> None:
        cell = "```{code-cell} ipython3\n:tags: [solution]\n:exercise: ex\nx = 1\n```"
        built = build({"page": HEADER + "# T\n\n```{stub} ex\n```\n\n" + cell})
        assert "a solution is marked by ### BEGIN SOLUTION" in built.warnings


class TestVerdicts:
    def test_prose_that_the_ledger_bears_out(self, build) -> None:
        text = "# T\n\n:::{leans} fast supported\nSo.\n:::\n\n:::{leans} noisy not-run\nWait.\n:::"
        built = build({"index": text})
        assert "leans" not in built.warnings
        assert 'class="leans' in built.page()

    def test_badges_link_to_the_ledgers_rows(self, build) -> None:
        ledger = "# L\n\n:::{claims}\n:ledger:\n:columns: statement, estimate, n, p, verdict\n:::"
        built = build({"chapters/ledger": ledger, "index": "# T\n\n{verdict}`fast`"})
        assert 'href="chapters/ledger.html#claim-fast"' in built.page()
        table = built.page("chapters/ledger")
        assert 'id="claim-fast"' in table
        estimate = "3.2 [2.1,\u00a04.4] times"
        for text in (estimate, "&lt; 0.001", "verdict-not-run", " edited", "math"):
            assert text in table

    def test_without_a_ledger_page_there_is_no_dead_link(self, build) -> None:
        page = build({"index": "# T\n\n{verdict}`fast`"}).page()
        assert "verdict-supported" in page
        assert "#claim-fast" not in page


class TestQuiz:
    def test_nothing_but_details(self, build) -> None:
        page = build({"index": quiz("[x] yes $a$", "[ ] no", "[x] also")}).page()
        assert page.count("<details") == 3
        assert page.count("bn-right") == 2
        assert page.count("Because.") == 3
        assert "[x]" not in page

    @pytest.mark.parametrize(
        ("claim", "answers"), [("fast", ["right", "wrong"]), ("noisy", ["open", "open"])]
    )
    def test_a_prediction_follows_the_ledger(self, build, claim: str, answers: list[str]) -> None:
        head = f":::{{predict}} Which?\n:claim: {claim}\n"
        page = build({"index": quiz("[?supported] a", "[?refuted] b", head=head)}).page()
        assert [page.count(f"bn-option bn-{answer}") for answer in answers] == (
            [1, 1] if answers[0] != answers[1] else [2, 2]
        )


class TestReferences:
    """With ``-n`` a name of ours must lead somewhere; one of another project may look as it may."""

    @staticmethod
    def lost(built: Built) -> list[str]:
        return re.findall(r"reference target not found: ([\w.]+)", built.warnings)

    @pytest.mark.parametrize(
        ("role", "name"),
        [
            ("func", "bnlib.evidence.stats.bootsrap"),
            ("func", "stats.bootsrap"),
            ("func", "bootsrap"),
            ("class", "bnlib.evidence.sweep.Sweeep"),
            ("class", "Sweep"),  # exists, but no page documents it
            ("meth", "Sweep.frame"),
            ("exc", "bnlib.lab.data.DataErr"),
            ("mod", "bnlib.nothing"),
        ],
    )
    def test_of_ours_must_resolve(self, build, role: str, name: str) -> None:
        import bnlib.evidence.stats  # noqa: F401
        import bnlib.evidence.sweep  # noqa: F401 - known by name once it is imported, as autodoc does

        built = build({"index": f"# T\n\n{{py:{role}}}`{name}`"}, nitpicky=True)
        assert self.lost(built) == [name]

    FOREIGN = (
        "pathlib.Path", "pathlib._local.Path", "ArrayLike", "numpy.typing.ArrayLike",
        "numpy._typing._array_like._Buffer", "NDArray", "Tensor", "torch.Tensor", "nn.Module",
        "collections.abc.Callable", "typing.Literal", "types.UnionType", "frozen dataclass",
    )  # fmt: skip

    def test_of_other_projects_may_have_any_spelling(self, build) -> None:
        names = "\n".join(f"- {{py:class}}`{name}`" for name in self.FOREIGN)
        rest = "{py:func}`torch.no_grad` {py:exc}`OSError` {py:func}`print` {py:mod}`numpy.random`"
        built = build({"index": f"# T\n\n{names}\n\n{rest}"}, nitpicky=True)
        assert self.lost(built) == []
        shown = re.sub("<[^>]+>", "", built.page())
        assert all(name in shown for name in self.FOREIGN)

    SIGNATURE = (
        "# T\n\n```{eval-rst}\n.. py:function:: bnlib.f(x: ArrayLike | pathlib._local.Path, "
        "y: ~typing.Literal['a', 'b'], *z: OWN) -> collections.abc.Callable[[int], NDArray[Any]]\n"
        "\n.. py:class:: bnlib.evidence.sweep.Sweep\n```\n"
    )

    @pytest.mark.parametrize("name", ["bnlib.evidence.sweep.Sweep", "bnlib.evidence.sweep.Sweeep"])
    def test_in_a_signature(self, build, name: str) -> None:
        built = build({"index": self.SIGNATURE.replace("OWN", name)}, nitpicky=True)
        assert self.lost(built) == ([] if name.endswith("Sweep") else [name])

    def test_a_class_of_ours_needs_no_module(self, build) -> None:
        import bnlib.evidence.sweep  # noqa: F401

        text = self.SIGNATURE.replace("OWN", "int") + "\n{py:class}`Sweep`\n"
        built = build({"index": text}, nitpicky=True)
        assert self.lost(built) == []
        assert 'href="#bnlib.evidence.sweep.Sweep"' in built.page().split("</dl>")[-1]


def test_a_formula_keeps_its_punctuation(build) -> None:
    page = build({"index": "# T\n\nSo ($a$), and *if* $b$. But $c$ is free, and $d$\n"}).page()
    joined = re.findall(
        r'<span class="joined">(.)?<span class="math[^>]*>(.*?)</span>(.*?)</span>', page
    )
    assert joined == [("(", r"\(a\)", "),"), ("", r"\(b\)", ".")]
    assert "So <span" in page
    assert "</span> and <em>" in page


class TestChapter:
    """A page with cells becomes a notebook that needs no Sphinx."""

    PAGE = (
        HEADER
        + "# T\n\n$$\nx^2\n$$ (eq-x)\n\nBy {eq}`eq-x`, costs \\$5. See {verdict}`fast`.\n\n"
        + "```{stub} ex\n```\n\n"
        + "```{code-cell} ipython3\n:tags: [solution]\n:exercise: ex\n"
        + "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION\n\n\n"
        + "assert f()\n```\n\n"
        + ":::{admonition} In one minute\n:class: minute\n\n- a\n- b\n:::\n\n"
        + quiz("[x] yes", "[ ] no").removeprefix("# T\n\n")
        + "\n| a | b |\n|---|---|\n| 1 | $y$ |\n\n:::{answer}\nIt is.\n:::\n"
    )

    @pytest.fixture
    def cells(self, build) -> list[dict[str, str]]:
        built = build({"page": self.PAGE})
        found = built.notebook("page")["cells"]
        assert isinstance(found, list)
        return [{**cell, "source": "".join(cell["source"])} for cell in found]

    def test_prose(self, cells: list[dict[str, str]]) -> None:
        prose = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
        for text in (
            "# T",
            "\\tag{1}",
            "costs \\$5",
            "**supported**",
            "> **In one minute**\n>\n> - a\n> - b",
            "<details><summary>yes</summary>\n\n**Right.** Because.",
            "| 1 | $y$ |",
            "<details><summary>Answer</summary>\n\nIt is.",
        ):
            assert text in prose

    def test_cells(self, cells: list[dict[str, str]]) -> None:
        code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        assert len(code) == 3
        assert "find_spec" in code[0]
        assert code[1] == "def f():\n    ...  # your code here\n\n\nassert f()"
        assert code[2] == "# Solution\ndef f():\n    return 1\n\n\nassert f()"

    def test_solution_is_folded_on_the_page(self, build) -> None:
        page = build({"page": self.PAGE}).page("page")
        assert "<summary>Solution</summary>" in page
        assert "### BEGIN" not in page


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (75, "75 s"), (1800, "30 min"), (9000, "2.5 h")]
)
def test_costs_in_units_a_reader_thinks_in(seconds: float, text: str) -> None:
    assert provenance.human(seconds) == text


@pytest.mark.parametrize("repository", [None, "https://github.com/a/b"])
def test_provenance_names_cost_and_command(
    monkeypatch: pytest.MonkeyPatch, repository: str | None
) -> None:
    monkeypatch.setattr(provenance, "address", lambda: repository)
    facts = {
        "runs": 40, "seeds": [1, 2, 3], "core_seconds": 1800.0, "date": "2025-01-02T03:04",
        "commit": "a" * 40, "clean": True,
    }  # fmt: skip
    words = provenance.Provenance._words("convergence", facts)
    text = "".join(word.astext() for word in words)
    assert text == (
        "convergence: 40 runs, 3 seeds, 30 min on one core, 2025-01-02, commit aaaaaaa. "
        "Redo it: bnlib run convergence"
    )
    links = [word["refuri"] for word in words if "refuri" in getattr(word, "attributes", {})]
    assert links == ([f"{repository}/commit/{'a' * 40}"] if repository else [])
