"""Build the book and run its quick tests under each supported Python, each in a fresh clone.

What is committed is tested. A Python that cannot be had is skipped by name; with ``CI=true``
that is a failure, so there the versions may be given:  python tools/pythons.py 3.12 3.13
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Debian 12's own, and the latest of each later series.
VERSIONS = ("3.11.2", "3.12", "3.13", "3.14")

QUICK = "not slow and not browser and not frameworks"

#: Each in the clone, with a Python to make the environment.
STEPS = {
    "book": ("make", "book"),
    "environment of the tests": ("make", ".venv/.test", "TEST_EXTRAS=book,test,distributed"),
    "tests": (".venv/bin/python", "-m", "pytest", "-q", "-n", "auto", "-m", QUICK),
}


def version_of(python: Path | str) -> str:
    """Full version of an interpreter; empty if it does not start, as a shim may not."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, encoding="utf-8", check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def is_version(found: str, wanted: str) -> bool:
    """Whether a full version is the wanted one, or of the wanted series."""
    return f"{found}.".startswith(f"{wanted}.")


def candidates(version: str) -> Iterator[Path | str]:
    """Where an interpreter of this version may be, likely places first."""
    series = ".".join(version.split(".")[:2])
    for folder in os.get_exec_path():
        yield Path(folder) / f"python{series}"
    yield from sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python"))
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if Path(uv).is_file():
        for command in (["find", version], ["install", version], ["find", version]):
            done = subprocess.run(
                [uv, "python", *command], capture_output=True, encoding="utf-8", check=False
            )
            if done.returncode == 0 and command[0] == "find":
                yield done.stdout.strip()


def find(version: str) -> Path | str | None:
    """Return an interpreter of this version, None if there is none."""
    return next((p for p in candidates(version) if is_version(version_of(p), version)), None)


def check(python: Path | str) -> tuple[bool, str]:
    """Take every step in a fresh clone; whether all went well, and what each cost."""
    inherited = ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")
    environment = {k: v for k, v in os.environ.items() if k not in inherited}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHON": str(python)}
    costs = []
    with tempfile.TemporaryDirectory(prefix="book-") as folder:
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        for name, command in STEPS.items():
            start = time.perf_counter()
            done = subprocess.run(command, cwd=folder, env=environment, check=False)
            costs.append(f"{name} {time.perf_counter() - start:.0f} s")
            if done.returncode:
                return False, f"FAILED: {', '.join(costs)}"
    return True, ", ".join(costs)


def main() -> int:
    """Check each version and say what came of it; the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS, help="such as 3.12 or 3.11.2")
    lines, failed = [], 0
    for version in parser.parse_args().versions:
        python = find(version)
        if python is None:
            failed += os.environ.get("CI") == "true"
            lines.append(f"Python {version}: skipped, this machine has none")
            continue
        print(f"\n=== Python {version_of(python)}, {python}", flush=True)
        well, said = check(python)
        failed += not well
        lines.append(f"Python {version_of(python)} ({python}): {said}")
    print("\n" + "\n".join(lines))
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
