"""The command line as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def bnlib(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bnlib.cli", *arguments], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, check=False, timeout=280,
    )  # fmt: skip


def test_list_shows_the_cost() -> None:
    done = bnlib("list")
    assert done.returncode == 0
    assert "convergence" in done.stdout
    assert "core-minutes" in done.stdout


def test_claims_json_has_the_documented_keys() -> None:
    done = bnlib("claims", "--json")
    rows = json.loads(done.stdout)
    keys = "id chapter kind statement sources estimate ci_low ci_high p n verdict"
    assert rows
    assert all(" ".join(row) == keys for row in rows)


def test_claims_of_an_empty_folder_are_not_run(tmp_path: Path) -> None:
    rows = json.loads(bnlib("claims", "--results", str(tmp_path), "--json").stdout)
    assert {row["verdict"] for row in rows} == {"not run"}
    assert all(row["estimate"] is None for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "there is no experiment 'nothing'; there are: "),
        (["run", "convergence", "--seeds", "7"], "--seeds takes first:end"),
        (["run", "convergence", "--seeds", "9:3"], "--seeds takes first:end"),
        (["data", "fetch", "mnist"], "there is no data set 'mnist'"),
    ],
)
def test_errors_are_one_line_and_status_1(arguments: list[str], message: str) -> None:
    done = bnlib(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_unknown_options_are_usage_errors() -> None:
    assert bnlib("run").returncode == 2
    assert bnlib("--help").returncode == 0


def test_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = bnlib("data", "fetch", "cifar10", BNLIB_DATA=str(blocked))
    assert done.returncode == 1
    assert done.stderr.startswith(("bnlib: ", "Downloading"))
    assert "Traceback" not in done.stderr


def test_import_is_light() -> None:
    code = "import sys, bnlib; print(sorted({'torch', 'pandas', 'seaborn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
