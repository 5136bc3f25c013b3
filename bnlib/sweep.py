"""Map a measurement over runs, on any executor; resume what was interrupted.

Each finished run is written at once, under a name that is a hash of its factors and code, by
an atomic rename. So a killed sweep resumes where it stopped, two sweeps may share a folder,
and a file that is damaged is named, discarded and computed again.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bnlib.codehash import code_hash
from bnlib.files import atomic_write
from bnlib.provenance import run_key

Measure = Callable[[Any], pd.DataFrame]
Report = Callable[[str], None]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class SweepError(RuntimeError):
    """A sweep could not be finished; what it finished is kept."""


class SweepInterrupted(SweepError):  # noqa: N818 - it is no error
    """A sweep was stopped by the user."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A finished sweep: one tidy ``table`` in the order of the runs, and its ``core_seconds``."""

    table: pd.DataFrame
    core_seconds: float


def sweep(
    measure: Measure,
    runs: Sequence[Any],
    folder: Path | str,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    on_done: Callable[[int, int], None] | None = None,
    report: Report = print,
) -> Sweep:
    """Measure all runs that the folder does not hold yet, and return all of them as one table.

    Parameters
    ----------
    measure : callable
        A pure function at the top level of a module: takes a run, returns a data frame.
    runs : sequence of frozen dataclass
        Every factor and the seed of each run.
    folder : path
        Where the file of each run is kept.
    executor : Executor, optional
        Any executor of `concurrent.futures`; by default a pool of single-threaded processes.
    jobs : int, optional
        Number of processes of the default pool; one per core unless given.
    on_done : callable, optional
        Called as ``on_done(finished, total)`` after every run, and once at the start.
    report : callable
        Told about damaged files.

    Raises
    ------
    SweepError
        If a run fails or a worker dies; what is finished is kept.
    SweepInterrupted
        On Ctrl-C; what is finished is kept.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    code = code_hash(measure)
    files = {folder / f"{run_key(run, code)}.parquet": run for run in runs}
    waiting = {path: run for path, run in files.items() if not _intact(path, run, report)}
    tell = on_done or _silent
    tell(len(files) - len(waiting), len(files))
    if waiting:
        with nullcontext(executor) if executor else process_pool(jobs) as pool:
            _measure_all(measure, waiting, pool, len(files), tell)
    parts = [pq.read_table(path) for path in files]
    seconds = sum(float(p.schema.metadata[b"core_seconds"]) for p in parts)
    return Sweep(pd.concat([p.to_pandas() for p in parts], ignore_index=True), seconds)


def execute(measure: Measure, run: Any) -> tuple[pd.DataFrame, float]:
    """Measure one run here and now: its table with the run's factors, and its core seconds."""
    start = time.thread_time()
    found = measure(run)
    seconds = time.thread_time() - start
    factors = dataclasses.asdict(run)
    clash = set(factors) & set(found.columns)
    if clash:
        raise ValueError(f"a measurement must not rename the factors {sorted(clash)} of its run")
    for position, (name, value) in enumerate(factors.items()):
        found.insert(position, name, value)
    return found, seconds


def connect(address: str) -> Executor:
    """Return an executor on the Dask scheduler at an address such as ``tcp://host:8786``.

    Raises
    ------
    SweepError
        If `distributed` is not installed or no scheduler answers.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise SweepError(
            "--scheduler needs Dask: install the package with its extra 'distributed'"
        ) from error
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise SweepError(f"no Dask scheduler answers at {address}: {error}") from error
    # A run is repeated on another worker when its own one dies; each has its own key.
    executor: Executor = client.get_executor(pure=False)
    return executor


def write_table(path: Path, table: pd.DataFrame, metadata: dict[str, str]) -> None:
    """Write Parquet with page checksums, by an atomic rename within the folder."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **_bytes(metadata)})
    with atomic_write(path) as file:
        pq.write_table(arrow, file, write_page_checksum=True, compression="zstd")


def _measure_all(
    measure: Measure,
    waiting: dict[Path, Any],
    pool: Executor,
    total: int,
    tell: Callable[[int, int], None],
) -> None:
    futures: dict[Future[tuple[pd.DataFrame, float]], Path] = {}
    failures: list[str] = []
    done = total - len(waiting)
    try:
        for path, run in waiting.items():
            futures[pool.submit(execute, measure, run)] = path
        for future in as_completed(futures):
            path = futures[future]
            try:
                table, seconds = future.result()
            except BrokenProcessPool:
                raise
            except Exception as error:  # another run may still succeed, and be kept
                failures.append(f"{waiting[path]}: {type(error).__name__}: {error}")
                continue
            write_table(path, table, {"run": _text(waiting[path]), "core_seconds": repr(seconds)})
            done += 1
            tell(done, total)
    except BrokenProcessPool as error:
        raise SweepError(
            f"a worker process died (out of memory?) after {done} of {total} runs; "
            "they are kept: the same command resumes, fewer --jobs need less memory"
        ) from error
    except KeyboardInterrupt as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise SweepInterrupted(
            f"stopped after {done} of {total} runs; they are kept: the same command resumes"
        ) from error
    if failures:
        raise SweepError(
            f"{len(failures)} of {total} runs failed, the others are kept; first: {failures[0]}"
        )


def _intact(path: Path, run: Any, report: Report) -> bool:
    """Say whether a run's file is there and whole; name it and remove it where it is damaged."""
    if not path.exists():
        return False
    try:
        found = pq.ParquetFile(path, page_checksum_verification=True).read()
        if found.schema.metadata[b"run"].decode() == _text(run):
            return True
        problem = "it holds another run"
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        problem = str(error)
    report(f"damaged result {path} is discarded and computed again: {problem}")
    path.unlink(missing_ok=True)
    return False


@contextmanager
def process_pool(jobs: int | None = None) -> Iterator[Executor]:
    """Open a pool of single-threaded processes, one per core unless ``jobs`` says otherwise."""
    workers = jobs or os.cpu_count() or 1
    # Started afresh: a forked process would inherit PyTorch's threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    with (
        mock.patch.dict(os.environ, dict.fromkeys(THREAD_VARIABLES, "1")),  # processes inherit it
        ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool,
    ):
        yield pool


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


def _silent(done: int, total: int) -> None:
    """Show no progress."""
    del done, total


def _text(run: Any) -> str:
    return json.dumps(dataclasses.asdict(run), sort_keys=True)


def _bytes(metadata: dict[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in metadata.items()}
