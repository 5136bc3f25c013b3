"""The lock: exact, the versions of the results, and to be had for every supported Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lock
import pytest
from conftest import lacks, require_program
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

#: Each series at its first release, and Debian 12's own.
PYTHONS = [*lock.pythons(), "3.11.2"]


def pins(text: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def pairs(text: str) -> set[tuple[str, str]]:
    return {(canonicalize_name(pin.name), str(pin.specifier)) for pin in pins(text)}


def wanted(python: str) -> set[str]:
    """Name the packages for which the metadata asks a Python, extras included."""
    groups = (lock.project()["dependencies"], *lock.project()["optional-dependencies"].values())
    found = [Requirement(line) for group in groups for line in group]
    version = {"python_version": ".".join(python.split(".")[:2])}
    return {canonicalize_name(r.name) for r in found if not r.marker or r.marker.evaluate(version)}


def test_every_line_is_one_exact_version() -> None:
    for pin in pins(lock.LOCK.read_text("utf-8")):
        (only,) = pin.specifier
        assert only.operator == "==", pin
        assert "*" not in only.version, pin
        assert "+" not in only.version, f"{pin}: a local version is on no index"


def test_holds_the_versions_with_which_the_results_were_made() -> None:
    locked = pairs(lock.LOCK.read_text("utf-8"))
    made = lock.of_results()
    assert {"torch", "numpy", "scipy", "pandas", "pyarrow"} <= set(made)
    assert {(name, f"=={version}") for name, version in made.items()} <= locked


def test_two_results_with_two_versions_are_refused(tmp_path: Path) -> None:
    for name, version in (("a", "1.0"), ("b", "2.0")):
        versions = {"versions": {"python": version, "torch": version}}
        (tmp_path / f"{name}.json").write_text(json.dumps(versions), "utf-8")
    with pytest.raises(ValueError, match=r"b\.json has torch 2\.0, others 1\.0"):
        lock.of_results(tmp_path)


def test_the_metadata_allows_the_pythons_that_it_names() -> None:
    names = lock.pythons()
    assert names == [f"3.{minor}" for minor in range(11, 11 + len(names))]
    assert lock.project()["requires-python"] == f">={names[0]}"


def test_only_what_differs_between_pythons_keeps_its_marker() -> None:
    lines = ["a==1 ; sys_platform != 'x'", "b==1 ; python_version < '3.12'", "b==2"]
    assert lock.tidy(lines) == ["a==1", *lines[1:]]


def compile_for(python: str, constraints: Path, *what: str) -> subprocess.CompletedProcess[str]:
    """Ask uv what a Python would get, built wheels only; it reads metadata, no packages."""
    uv = require_program(str(Path(sys.executable).with_name("uv")), "uv")
    command = [
        *(uv, "pip", "compile", "--python", sys.executable, "--python-version", python),
        *("--only-binary", ":all:", "--no-config"),
        *("--no-header", "--no-annotate", "--constraints", str(constraints), *what),
    ]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip, by name, where the package index cannot be reached."""
    small = tmp_path_factory.mktemp("index") / "in.txt"
    small.write_text("iniconfig\n", "utf-8")
    done = compile_for("3.13", lock.LOCK, "--no-cache", str(small))
    if done.returncode:
        lacks(f"a package index that can be reached ({done.stderr.strip()})")


@pytest.mark.slow
@pytest.mark.usefixtures("index")
class TestResolves:
    @pytest.mark.parametrize("python", PYTHONS)
    def test_from_wheels_alone_and_to_nothing_else(self, python: str) -> None:
        done = compile_for(python, lock.LOCK, "--all-extras", "pyproject.toml")
        assert done.returncode == 0, done.stderr
        found = pairs(done.stdout)
        assert found <= pairs(lock.LOCK.read_text("utf-8"))
        assert wanted(python) <= {name for name, _ in found}

    def test_a_lock_for_newer_pythons_is_noticed(self, tmp_path: Path) -> None:
        """Debian 12's Python once had no answer: this package asks for a newer one."""
        newer = tmp_path / "lock.txt"
        newer.write_text("beautifulsoup4==4.15.0\nsoupsieve==4.1.2\n", "utf-8")
        done = compile_for("3.11.2", newer, "--extra", "book", "pyproject.toml")
        assert done.returncode != 0
        assert "soupsieve==4.1.2 depends on Python>=3.11.5" in " ".join(done.stderr.split())
