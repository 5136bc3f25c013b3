"""Write requirements.lock: what a fresh environment with every extra gets today, as constraints."""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "book,test,frameworks,distributed"
HEAD = """\
# Exact versions of everything, written by `make lock`; pip reads them as constraints:
#   pip install -c requirements.lock -e ".[book]"
"""


def public(line: str) -> str | None:
    """One line of ``pip freeze`` as a constraint: no local version, no path, not the project."""
    found = re.fullmatch(r"([A-Za-z0-9._-]+)==([^+\s]+)(?:\+\S+)?", line.strip())
    if found is None or found[1].lower() in {"batchnorm-book", "pip", "setuptools", "wheel"}:
        return None
    return f"{found[1].lower()}=={found[2]}"


def freeze(index: str | None) -> list[str]:
    """Versions in a fresh environment with every extra."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        extra = ["--extra-index-url", index] if index else []
        command = [python, "-m", "pip", "install", "-q", *extra, f"{ROOT}[{EXTRAS}]"]
        subprocess.run(command, check=True)
        command = [python, "-m", "pip", "freeze", "--exclude-editable"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", help="a further package index")
    lines = sorted({entry for line in freeze(parser.parse_args().index) if (entry := public(line))})
    (ROOT / "requirements.lock").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"requirements.lock: {len(lines)} packages")


if __name__ == "__main__":
    main()
