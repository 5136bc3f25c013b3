"""Write requirements.lock: one exact version of everything, for every Python that is supported.

uv resolves the ranges in pyproject.toml for each Python and platform, from wheels only; where no
version serves all, lines carry markers, which pip reads. A version in the present lock stays if
it still fits, unless ``--upgrade`` asks for the latest. The versions with which the stored
results were made stay in any case.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import tomllib
import venv
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
HEAD = """\
# Exact versions of everything, written by `make lock`; pip reads them as constraints:
#   pip install -c requirements.lock -e ".[book]"
"""


def project(root: Path = ROOT) -> dict[str, Any]:
    """Read the package's metadata."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)["project"]
    return found


def pythons(root: Path = ROOT) -> list[str]:
    """Supported Pythons, oldest first, as the classifiers name them: "3.11", "3.12", ..."""
    start = "Programming Language :: Python :: 3."
    return [name[len(start) - 2 :] for name in project(root)["classifiers"] if start in name]


def of_results(folder: Path = ROOT / "results") -> dict[str, str]:
    """Versions with which the stored results were made, by package.

    Raises
    ------
    ValueError
        If two results were made with two versions of one package.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.json")):
        versions = json.loads(path.read_text(encoding="utf-8"))["versions"]
        for package, version in versions.items():
            if package != "python" and found.setdefault(package, version) != version:
                raise ValueError(f"{path.name} has {package} {version}, others {found[package]}")
    return found


def tidy(lines: list[str]) -> list[str]:
    """Drop the markers of packages with one version: a constraint installs nothing by itself."""
    names = [line.split("==")[0] for line in lines]
    count = Counter(names)
    return [
        line.split(";")[0].strip() if count[name] == 1 else line
        for name, line in zip(names, lines, strict=True)
    ]


def resolve(uv: Path, folder: Path, *options: str) -> list[str]:
    """Resolve for each Python apart, working in `folder`; the lines of the lock.

    Raises
    ------
    subprocess.CalledProcessError
        If there is no solution; uv has said why.
    """
    # A version counts only if there is a wheel of it for that Python.
    environments = [f"python_version == '{p}' and sys_platform != 'emscripten'" for p in pythons()]
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        f"{text}\n[tool.uv]\nenvironments = {environments}\n", encoding="utf-8"
    )
    fixed = (f"{package}=={version}\n" for package, version in of_results().items())
    (folder / "fixed.txt").write_text("".join(fixed), encoding="utf-8")
    shutil.copy(LOCK, folder / LOCK.name)
    command = [
        *(uv, "pip", "compile", "--universal", "--python-version", pythons()[0]),
        *("--only-binary", ":all:", "--all-extras", "--constraints", "fixed.txt", "--quiet"),
        *("--no-header", "--no-annotate", "--output-file", LOCK.name, *options, "pyproject.toml"),
    ]
    subprocess.run(command, check=True, cwd=folder)
    return tidy((folder / LOCK.name).read_text(encoding="utf-8").splitlines())


def main() -> int:
    """Write the file; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="the latest that the ranges allow")
    options = ["--upgrade"] * parser.parse_args().upgrade
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder, with_pip=True)
        try:
            subprocess.run([folder / "bin/pip", "install", "-q", "-c", LOCK, "uv"], check=True)
            lines = resolve(folder / "bin/uv", folder, *options)
        except subprocess.CalledProcessError as error:
            return error.returncode
    LOCK.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"requirements.lock: {len(lines)} lines")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
