"""Where a result comes from: hashes of runs and grid, versions, commit, machine."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bnlib.evidence.codehash import digest

VERSIONED = ("torch", "numpy", "scipy", "pandas", "pyarrow")
# Environment variables that make libraries compute as on an older processor.
RESTRICTIONS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


def run_key(run: Any, code: str) -> str:
    """Return the name of a run: a hash of its factors, of the code and of PyTorch's version."""
    factors = json.dumps(dataclasses.asdict(run), sort_keys=True)
    return digest(factors, code, torch_version())


def grid_hash(runs: Iterable[Any]) -> str:
    """Return a hash of a set of runs, whatever their order."""
    return digest(*sorted(json.dumps(dataclasses.asdict(r), sort_keys=True) for r in runs))


def stamp(folder: Path | None = None) -> dict[str, Any]:
    """Return versions, commit, date and machine, as they are now."""
    folder = folder or Path(__file__).parents[2]
    commit = _git(folder, "rev-parse", "HEAD")
    return {
        "commit": commit,
        "clean": commit is not None and _git(folder, "status", "--porcelain") == "",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "cpu": cpu_model(),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in VERSIONED},
        },
    }


def torch_version() -> str:
    """Return PyTorch's version, whatever it was built for."""
    return _version("torch")


def cpu_model() -> str:
    """Return the name of the processor, with family and stepping where Linux tells them.

    Cloud machines give one model name to several generations, which round differently; and a
    processor that is told to compute like an older one rounds like that.
    """
    limits = [f"{name}={os.environ[name]}" for name in RESTRICTIONS if os.environ.get(name)]
    return " / ".join([_cpu_name(), *limits])


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in reversed(lines) if ":" in line)
    found = {key.strip(): value.strip() for key, value in pairs}
    keys = ("model name", "cpu family", "model", "stepping")
    return " / ".join(found[k] for k in keys if k in found) or platform.machine()


def _version(name: str) -> str:
    return importlib.metadata.version(name).split("+")[0]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
