"""Installing: any supported Python, any folder; what a Python lacks is said in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import environment
import lock
import pytest
from conftest import require, require_program

ROOT = Path(__file__).parents[1]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_the_pythons_are_those_of_the_metadata() -> None:
    names = lock.pythons()
    assert (numbers(names[0]), numbers(names[-1])) == (environment.OLDEST, environment.NEWEST)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"Python {names[0]} to {names[-1]}" in readme
    assert f"({names[0]} to {names[-1]})" in (ROOT / "Makefile").read_text("utf-8")


class TestLacks:
    def test_nothing_here(self) -> None:
        assert environment.lacking() is None

    @pytest.mark.parametrize(
        ("gone", "said"),
        [
            ({"venv"}, "no venv; on Debian and Ubuntu: apt install python3-venv"),
            ({"ensurepip"}, "no venv; on Debian and Ubuntu: apt install python3-venv"),
            ({"sqlite3", "bz2"}, "built without the modules bz2, sqlite3"),
        ],
    )
    def test_a_module(self, monkeypatch: pytest.MonkeyPatch, gone: set[str], said: str) -> None:
        monkeypatch.setattr(environment, "has", lambda name: name not in gone)
        assert said in (environment.lacking() or "")

    def test_a_module_that_is_not_there(self) -> None:
        assert environment.has("venv")
        assert not environment.has("no_such_module")


PRETEND = """#!/bin/sh
exec {python} -c '
import runpy, sys
sys.version_info = {version}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""


class TestMake:
    """`make book` with a Python that will not do."""

    def make(self, folder: Path, python: str) -> subprocess.CompletedProcess[str]:
        command = [require_program("make"), "book", f"PYTHON={python}", f"VENV={folder}/.venv"]
        # As a user calls it: the tests themselves may run under `make`, which tells its children.
        outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
        environment = {k: v for k, v in os.environ.items() if k not in outer}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False
        )

    def test_one_line_says_that_it_is_too_old(self, tmp_path: Path) -> None:
        old = tmp_path / "python3.10"
        version = (3, 10, 13)
        old.write_text(PRETEND.format(python=sys.executable, version=version), "utf-8")
        old.chmod(0o755)
        done = self.make(tmp_path, str(old))
        assert done.returncode != 0
        assert done.stdout == ""
        line, end = done.stderr.splitlines()
        assert line.startswith("Python 3.10.13 (")
        assert line.endswith(") will not do: 3.11 or later is needed.")
        assert end.startswith("make: ***")
        assert not (tmp_path / ".venv").exists()

    def test_one_line_says_that_there_is_none(self, tmp_path: Path) -> None:
        done = self.make(tmp_path, "python3.99")
        assert done.returncode != 0
        assert "python3.99: No such file or directory" in done.stderr
        assert "Traceback" not in done.stderr


def test_half_an_environment_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "venv"
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\nmkdir -p "$4/bin"\necho no space left\nexit 1\n', "utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert environment.make(str(folder)) == "venv failed: no space left"
    assert not folder.exists()


@pytest.mark.slow
def test_an_editable_install_in_any_folder_and_locale(tmp_path: Path) -> None:
    """Python before 3.12.4 reads ``.pth`` files in the locale's encoding, or does not start."""
    require("hatchling")
    checkout = tmp_path / "Bücher 書"
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        (checkout / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, checkout)
    (checkout / "results").mkdir()
    (checkout / "bnlib").mkdir()
    (checkout / "bnlib/__init__.py").write_text("WHERE = __file__\n", "utf-8")
    build = "import hatchling.build; print(hatchling.build.build_editable('.'))"
    environ = {**os.environ, "PYTHONPATH": "", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", build],
        cwd=checkout, env=environ, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    with ZipFile(checkout / done.stdout.split()[-1]) as wheel:
        assert wheel.testzip() is None
        wheel.extractall(tmp_path / "site")
    start = f"import site; site.addsitedir({str(tmp_path / 'site')!r})"
    code = f"{start}; import bnlib; print(ascii(bnlib.WHERE))"
    for locale in ("C", "POSIX", "C.UTF-8"):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code],
            env={"LC_ALL": locale}, capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == ascii(str(checkout / "bnlib/__init__.py"))
        assert done.stderr == ""
