"""Execute the chapters in parallel, one thread each and one per processor, into the cache.

The book's build then finds every page executed. Each exercise's stub runs just before its
solution, in the same kernel, so one execution serves the site, the notebooks and the tests.

What a page's Python writes to stderr, warnings included, is a fault of the page: it fails, and is
not kept. What lies beneath (native libraries, the kernel's own start, child processes) depends
on the machine; it goes to the terminal and never onto a page.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import yaml
from joblib import cpu_count
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "_ext"))

import homes  # noqa: E402 - after the path is set
from bookext import stubs  # noqa: E402
from bookext.cache import folder, holds  # noqa: E402
from bookext.cache import notebook as read  # noqa: E402
from bookext.exercises import is_solution  # noqa: E402
from bookext.notebooks import executed_path  # noqa: E402

TIMEOUT = 300

#: Without file descriptors 1 and 2: only Python's own streams reach a page.
KERNEL = ["--IPKernelApp.capture_fd_output=False", "--log-level=ERROR"]

CLOCK = "import time\nprint(time.process_time())"

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class StderrError(RuntimeError):
    """A cell of a page wrote to stderr."""


@functools.cache
def settle() -> None:
    """Prepare what kernels inherit: folders that can be written, one thread, fonts on record."""
    os.environ.update({"BNLIB_BOOK": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", **ONE_THREAD})
    homes.settle()
    # Matplotlib's first start on a machine lists all fonts, and says so when that takes long.
    command = [sys.executable, "-c", "import matplotlib.font_manager"]
    subprocess.run(command, capture_output=True, check=False)


def pages(toc: object) -> list[str]:
    """Names of all pages in a table of contents, in order."""
    if isinstance(toc, list):
        return [name for item in toc for name in pages(item)]
    if not isinstance(toc, dict):
        return []
    own = [str(toc[key]) for key in ("root", "file") if key in toc]
    return own + [name for key in ("parts", "chapters", "sections") for name in pages(toc.get(key))]


def chapters(root: Path = ROOT) -> dict[str, NotebookNode]:
    """Pages with code, read exactly as the book's build reads them."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    found = {name: read(root / f"{name}.md") for name in pages(toc)}
    return {name: page for name, page in found.items() if page is not None}


def with_stubs(notebook: NotebookNode) -> NotebookNode:
    """Copy a notebook, putting before each marked solution its stub, which is allowed to fail."""
    copy = nbformat.from_dict(notebook)
    copy.cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and is_solution(cell.metadata):
            metadata = {"tags": ["stub", "raises-exception"]}
            copy.cells.append(nbformat.v4.new_code_cell(stubs.stub(cell.source), metadata=metadata))
        copy.cells.append(nbformat.from_dict(cell))
    return copy


def stderr(notebook: NotebookNode) -> Iterator[str]:
    """Say which cells of a page wrote to stderr, and what; stubs are not on the page."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = [cell for cell in cells if "stub" not in cell.metadata.get("tags", [])]
    for number, cell in enumerate(cells, 1):
        streams = (out for out in cell.get("outputs", []) if out.get("name") == "stderr")
        text = "".join(out.text for out in streams).strip()
        if text:
            first = cell.source.strip().partition("\n")[0]
            yield f"code cell {number} ({first}) wrote to stderr:\n{text}"


def run(name: str, notebook: NotebookNode, root: Path) -> tuple[NotebookNode, float]:
    """Execute one chapter in a fresh kernel; the notebook, stubs included, and its seconds.

    They are the processor's, so that they say something of the page and not of what else runs.

    Raises
    ------
    CellExecutionError
        If a cell fails, a stub excepted.
    StderrError
        If the page's Python wrote to stderr.
    """
    settle()
    ready = with_stubs(notebook)
    ready.cells.append(nbformat.v4.new_code_cell(CLOCK))
    place = {"metadata": {"path": str((root / name).parent)}}
    # Without timing in the cells: the cache compares their metadata too.
    client = NotebookClient(
        ready, timeout=TIMEOUT, kernel_name="python3", resources=place, record_timing=False,
        extra_arguments=KERNEL,
    )  # fmt: skip
    client.execute()
    seconds = float(ready.cells.pop().outputs[0].text)
    if faults := list(stderr(ready)):
        raise StderrError("\n".join(faults))
    return ready, seconds


def store(name: str, notebook: NotebookNode, seconds: float, root: Path) -> None:
    """Put an executed chapter into the cache, and a copy with its stubs beside it for the tests."""
    notebook.metadata["seconds"] = round(seconds, 2)
    copy = executed_path(name, root)
    full = copy.with_suffix(".stubs.ipynb")
    copy.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, full)
    notebook.cells = [c for c in notebook.cells if "stub" not in c.metadata.get("tags", [])]
    nbformat.write(notebook, copy)
    bundle = CacheBundleIn(notebook, str(root / f"{name}.md"), data={"execution_seconds": seconds})
    get_cache(str(folder(root))).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def missing(found: dict[str, NotebookNode], root: Path) -> list[str]:
    """Chapters that the cache does not hold."""
    return [
        name
        for name, notebook in found.items()
        if not (executed_path(name, root).is_file() and holds(notebook, root))
    ]


def main(root: Path = ROOT, jobs: int | None = None) -> int:
    """Execute what is not cached; the number of chapters that failed."""
    found = chapters(root)
    todo = missing(found, root)
    jobs = jobs or cpu_count()  # as many as this process may use
    print(f"{len(found)} chapters with code, {len(todo)} to execute, {jobs} at a time", flush=True)
    if todo:
        settle()
    failed = 0
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run, name, found[name], root): name for name in todo}
        for future in as_completed(futures):
            name = futures[future]
            try:
                notebook, seconds = future.result()
            except (CellExecutionError, TimeoutError, RuntimeError, ValueError) as error:
                failed += 1
                print(f"FAILED {name}\n{error}", file=sys.stderr, flush=True)
                continue
            store(name, notebook, seconds, root)
            print(f"  {name}: {seconds:.1f} s", flush=True)
    return failed


if __name__ == "__main__":
    raise SystemExit(1 if main() else 0)
