"""Run every notebook of the built site as a reader would: a fresh kernel, an empty folder.

    .venv/bin/python tools/notebooks.py [NAME ...]

Exits 1 where a cell fails that is not meant to, and prints how long each notebook took.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import homes
import nbformat
from joblib import cpu_count
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parents[1] / "_build" / "html" / "notebooks"


def run(path: Path) -> str:
    """Run one notebook; what went wrong, empty if nothing did."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        notebook = nbformat.read(path, 4)
        try:
            NotebookClient(
                notebook, timeout=300, kernel_name="python3", resources=place,
                extra_arguments=["--log-level=ERROR"],
            ).execute()  # fmt: skip
        except (CellExecutionError, TimeoutError, RuntimeError) as error:
            return str(error)
    print(f"  {path.stem}: {time.perf_counter() - start:.1f} s", flush=True)
    return ""


def main() -> int:
    """Run the named notebooks, or all; the exit status."""
    homes.settle()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    os.environ.pop("BNLIB_BOOK", None)  # outside the book, figures are shown in their cells
    paths = [FOLDER / f"{name}.ipynb" for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb"))
    if not paths:
        sys.exit(f"there are no notebooks in {FOLDER}: run `make book`")
    with ThreadPoolExecutor(cpu_count()) as pool:
        done = zip(paths, pool.map(run, paths), strict=True)
        failures = {path.stem: text for path, text in done if text}
    for name, text in failures.items():
        print(f"FAILED {name}\n{text}", file=sys.stderr)
    print(f"{len(paths)} notebooks, {len(failures)} failed")
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())
