"""The check of every supported Python: which it takes, and what it does about those not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lock
import pytest
import pythons

ROOT = Path(__file__).parents[1]

HERE = ".".join(map(str, sys.version_info[:3]))


def test_every_supported_series_is_checked() -> None:
    assert [".".join(v.split(".")[:2]) for v in pythons.VERSIONS] == lock.pythons()


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("3.11.2", "3.11.2", True),
        ("3.11.2", "3.11", True),
        ("3.11.20", "3.11.2", False),
        ("3.1.1", "3.11", False),
        ("", "3.11", False),
    ],
)
def test_a_version_or_its_series(found: str, wanted: str, same: bool) -> None:
    assert pythons.is_version(found, wanted) == same


def test_an_interpreter_that_does_not_start_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "shim"
    shim.write_text("#!/bin/sh\nexit 127\n", "utf-8")
    shim.chmod(0o755)
    places = (tmp_path / "nothing", shim, sys.executable)
    monkeypatch.setattr(pythons, "candidates", lambda _: iter(places))
    assert pythons.find(HERE) == sys.executable
    assert pythons.find("3.99") is None


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_one_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, status: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(pythons, "candidates", lambda _: iter(()))
    monkeypatch.setattr(sys, "argv", ["pythons.py", "3.99"])
    assert pythons.main() == status
    assert "Python 3.99: skipped, this machine has none" in capsys.readouterr().out


def test_each_step_in_a_clone_until_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "file").write_text("committed", "utf-8")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(source))
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "x")):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(pythons, "ROOT", source)
    steps = {
        "one": ("sh", "-c", 'test -f file && test "$PYTHON" = snake'),
        "two": ("sh", "-c", "exit 3"),
        "three": ("sh", "-c", f"touch {tmp_path}/reached"),
    }
    monkeypatch.setattr(pythons, "STEPS", steps)
    well, said = pythons.check("snake")
    assert not well
    assert said.startswith("FAILED: one 0 s, two 0 s")
    assert not (tmp_path / "reached").exists()
    monkeypatch.setattr(pythons, "STEPS", {"one": steps["one"]})
    assert pythons.check("snake") == (True, "one 0 s")
