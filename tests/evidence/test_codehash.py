"""The code's hash: it sees all that a function reaches and nothing else, on every Python."""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import protocols
import pytest
from protocols import measure

import bnlib
from bnlib.evidence import codehash
from bnlib.evidence.codehash import Definition, code_hash, cover, statistic_source
from bnlib.evidence.store import provenance
from bnlib.experiments import load, load_all

PACKAGE = Path(bnlib.__file__).parent


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose modules can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_words_do_not_count_and_code_does(modules: Path) -> None:
    source = Path(protocols.__file__).read_text("utf-8")

    def hash_of(name: str, old: str = "", new: str = "") -> str:
        assert old in source
        text = source.replace(old, new) if old else source + new
        (modules / f"{name}.py").write_text(text, "utf-8")
        return code_hash(importlib.import_module(name).measure)

    before = hash_of("unchanged")
    assert before == code_hash(measure)
    assert hash_of("words", "Train a little network", "Other words") == before
    assert hash_of("comment", new="\n# a comment\n") == before
    assert hash_of("annotation", "measure(run: Run)", "measure(run: object)") == before
    # `counting` is not reached by `measure`, `images` is
    assert hash_of("elsewhere", "{run.seed}-", "{run.seed}+") == before
    assert hash_of("data", "2.0 * y", "3.0 * y") != before
    assert hash_of("batch", "batch_size=10", "batch_size=20") != before


def test_order_and_place_do_not_count(modules: Path) -> None:
    one = "A = 3\n\ndef helper(x):\n    return A * x\n"
    two = "\ndef measure(run):\n    return helper(run)\n"
    (modules / "first.py").write_text(one + two, "utf-8")
    (modules / "second.py").write_text("import math\n" + two + one, "utf-8")
    hashes = {code_hash(importlib.import_module(name).measure) for name in ("first", "second")}
    assert len(hashes) == 1


def test_what_changes_a_name_later_counts(modules: Path) -> None:
    base = "A = {}\n\ndef measure(run):\n    return A\n"
    later = {"item": "A['x'] = 1\n", "call": "A.update(x=1)\n", "sum": "A |= {'x': 1}\n"}
    later |= {"branch": "if len('x'):\n    A = 2\n", "none": ""}
    hashes = []
    for name, text in later.items():
        (modules / f"later_{name}.py").write_text(base + text, "utf-8")
        hashes.append(code_hash(importlib.import_module(f"later_{name}").measure))
    assert len(set(hashes)) == len(later)


def test_names_are_followed_through_the_package() -> None:
    reached = cover(load("initialization_signal").measure)
    for module, name in (
        ("layers", "BatchNorm1d"), ("layers", "_BatchNorm"), ("functional", "batch_norm"),
        ("blocked", "moments"), ("autograd", "BatchNormFunction"), ("formulas", "normalize"),
        ("lab.train", "reproducible"),
        ("experiments.initialization.initialization_signal", "measure"),
    ):  # fmt: skip
        assert Definition(f"bnlib.{module}", name) in reached
    # An attribute of a module, and a name that a package passes on
    assert Definition("bnlib.lab.curvature", "top_eigenvalue") in cover(load("fisher").measure)
    assert Definition("bnlib.experiments.shift.probes", "covariate_shift") in cover(
        load("shift").measure
    )


def test_measuring_reaches_nothing_that_judges_or_shows() -> None:
    for experiment in load_all():
        reached = {d.module for d in cover(experiment.measure)}
        judging = [m for m in reached if m.startswith(("bnlib.evidence", "bnlib.book"))]
        assert judging == [], experiment.name
        assert not any(m.endswith("_claims") or m == "bnlib.experiments" for m in reached)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from bnlib import BatchNorm1d\n\ndef f(x):\n    return BatchNorm1d(x)\n", "bnlib itself"),
        ("import bnlib\n\ndef f(x):\n    return bnlib.mlp(x)\n", "bnlib itself"),
        ("from bnlib.lab import curvature\n\ndef f(x):\n    return x(curvature)\n", "as a whole"),
        ("f = lambda x: x\n", "not defined by name"),
    ],
)
def test_what_cannot_be_followed_is_refused(modules: Path, text: str, message: str) -> None:
    name = f"refused_{abs(hash(text))}"
    (modules / f"{name}.py").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message):
        code_hash(importlib.import_module(name).f)


def test_a_statistic_counts_with_its_arguments_and_functions() -> None:
    assert statistic_source(partial(protocols.images, n=3)) != statistic_source(protocols.images)

    def closed(value: int) -> object:
        def statistic() -> int:
            return value

        return statistic

    assert statistic_source(closed(1)) != statistic_source(closed(2))
    with_function = statistic_source(partial(protocols.images, n=protocols.counting))
    assert "BNLIB_TEST_MARKS" in with_function


TELL = """
import json
from bnlib.evidence.codehash import code_hash
from bnlib.experiments import load_all
from bnlib.book.ledger import ledger
rows = ledger()
print(json.dumps([{e.name: code_hash(e.measure) for e in load_all()},
                  sorted(set(rows[rows["edited"]]["experiment"]))]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "old", "new", "touched"),
    [
        ("formulas", "", "", set()),
        ("formulas", "+ eps", "+ 2 * eps", {"initialization_signal", "learning_rate_step"}),
        ("blocked", "BLOCK = ", "BLOCK = 1 + ", {"initialization_signal", "learning_rate_step"}),
        ("autograd", "grads[0]", "grads[-1]", {"initialization_signal", "learning_rate_step"}),
        ("experiments/gradients/meanfield", "RELU_SHARE = ", "RELU_SHARE = 0.5 * ", {"gradients"}),
    ],
)
def test_one_constant_names_the_experiments_that_it_touches(
    tmp_path: Path, module: str, old: str, new: str, touched: set[str]
) -> None:
    for name in ("bnlib", "results"):
        shutil.copytree(PACKAGE.parent / name, tmp_path / name)
    shutil.copy(PACKAGE.parent / "pyproject.toml", tmp_path)
    file = tmp_path / "bnlib" / f"{module}.py"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TELL], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    hashes, edited = json.loads(done.stdout)
    outdated = {n for n, found in hashes.items() if provenance(n)["code_hash"] != found}
    assert outdated == touched
    if module.endswith("meanfield"):
        assert {"gradients", "gradients_signal"} >= set(edited) >= touched  # what is expected


def test_the_text_is_the_same_on_every_python() -> None:
    """What `ast` shows differs between versions: a field that is empty must not be seen."""
    node = ast.parse("def f(a, /, b=1, *c, d=None, **e):\n    return f'{a!r:>{b}} {None}'").body[0]
    assert codehash._canonical(node) == (
        "FunctionDef(name='f', args=arguments(posonlyargs=[arg(arg='a')], args=[arg(arg='b')], "
        "vararg=arg(arg='c'), kwonlyargs=[arg(arg='d')], kw_defaults=[Constant(None)], "
        "kwarg=arg(arg='e'), defaults=[Constant(1)]), body=[Return(value=JoinedStr(values=["
        "FormattedValue(value=Name(id='a'), conversion=114, format_spec=JoinedStr(values=["
        "Constant('>'), FormattedValue(value=Name(id='b'), conversion=-1)])), Constant(' '), "
        "FormattedValue(value=Constant(None), conversion=-1)]))])"
    )
    if hasattr(node, "type_params"):
        assert node.type_params == []


def test_statistics_hide_no_name_in_a_query() -> None:
    """Names after an @ inside ``query`` or ``eval`` are text: no hash can follow them."""
    for path in [*PACKAGE.glob("experiments/**/*.py"), *PACKAGE.glob("evidence/*.py")]:
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        for call in calls:
            if isinstance(call.func, ast.Attribute) and call.func.attr in ("query", "eval"):
                assert "@" not in ast.unparse(call), f"{path}:{call.lineno}"
