"""Say by name what this machine lacks and pip cannot give; with ``CI=true`` a lack is an error."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

COMPILER = "a C++ compiler"
HEADERS = "Python's headers (on Debian and Ubuntu: python3-dev)"

WANTED = {
    "Chromium": (("chromium", "chromium-browser", "google-chrome"), "the tests of the built site"),
    COMPILER: (("c++", "g++", "clang++"), "the tests of torch.compile"),
}


def has_headers() -> bool:
    """Whether C++ code can be compiled against this Python."""
    return (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def lacking() -> dict[str, str]:
    """Name what is not here, and what is skipped for it."""
    given = {"Chromium": os.environ.get("CHROMIUM"), COMPILER: os.environ.get("CXX")}
    found = {
        name: use
        for name, (commands, use) in WANTED.items()
        if not any(shutil.which(command) for command in (given[name] or "", *commands))
    }
    return found if has_headers() else {**found, HEADERS: WANTED[COMPILER][1]}


def main() -> int:
    """Print what is lacking; the exit status."""
    found = lacking()
    for name, use in found.items():
        print(f"This machine has no {name}: {use} are skipped.", file=sys.stderr)
    return int(bool(found) and os.environ.get("CI") == "true")


if __name__ == "__main__":
    raise SystemExit(main())
