"""Say by name what this machine lacks and pip cannot give; with ``CI=true`` a lack is an error."""

from __future__ import annotations

import os
import shutil
import sys

WANTED = {
    "Chromium": (("chromium", "chromium-browser", "google-chrome"), "the tests of the built site"),
    "a C++ compiler": (("c++", "g++", "clang++"), "the tests of torch.compile"),
}


def lacking() -> dict[str, str]:
    """Name what is not here, and what is skipped for it."""
    given = {"Chromium": os.environ.get("CHROMIUM"), "a C++ compiler": os.environ.get("CXX")}
    return {
        name: use
        for name, (commands, use) in WANTED.items()
        if not any(shutil.which(command) for command in (given[name] or "", *commands))
    }


def main() -> int:
    """Print what is lacking; the exit status."""
    found = lacking()
    for name, use in found.items():
        print(f"This machine has no {name}: {use} are skipped.", file=sys.stderr)
    return int(bool(found) and os.environ.get("CI") == "true")


if __name__ == "__main__":
    raise SystemExit(main())
