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
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pyarrow as pa
from joblib import cpu_count

from bnlib.evidence import signals
from bnlib.evidence.codehash import code_hash
from bnlib.evidence.provenance import run_key
from bnlib.evidence.store import read_table, write_table
from bnlib.files import make_writable

Measure = Callable[[Any], pd.DataFrame]
Report = Callable[[str], None]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
DEAD_WORKER = "a worker process died (out of memory? fewer --jobs need less)"
MOST_ON_WINDOWS = 61  # processes that one pool can wait for there


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
        Number of processes of the default pool; unless given, as many as processors may be used.
    on_done : callable, optional
        Called as ``on_done(finished, total)`` after every run, and once at the start.
    report : callable
        Told about damaged files.

    Raises
    ------
    SweepError
        If a run fails, a worker dies or the folder cannot be written; what is finished is kept.
    SweepInterrupted
        On Ctrl-C or `SystemExit`; what is finished is kept.
    """
    folder = Path(folder)
    try:
        make_writable(folder)
    except OSError as error:
        raise SweepError(f"the folder {folder} cannot be written: {error.strerror}") from error
    code = code_hash(measure)
    files = {folder / f"{run_key(run, code)}.parquet": run for run in runs}
    waiting = {path: run for path, run in files.items() if not _intact(path, run, report)}
    tell = on_done or _silent
    tell(len(files) - len(waiting), len(files))
    if waiting:
        with nullcontext(executor) if executor else process_pool(jobs) as pool:
            _measure_all(measure, waiting, pool, len(files), tell, lent=executor is not None)
    parts = [read_table(path) for path in files]
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


def _measure_all(
    measure: Measure,
    waiting: dict[Path, Any],
    pool: Executor,
    total: int,
    tell: Callable[[int, int], None],
    *,
    lent: bool,
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
            except (BrokenProcessPool, CancelledError):
                raise
            except Exception as error:  # another run may still succeed, and be kept
                failures.append(f"{waiting[path]}: {type(error).__name__}: {error}")
                continue
            write_table(path, table, {"run": _text(waiting[path]), "core_seconds": repr(seconds)})
            done += 1
            tell(done, total)
    except (BrokenProcessPool, CancelledError, KeyboardInterrupt, OSError, SystemExit) as error:
        for future in futures if lent else ():  # our own pool ends its processes itself
            future.cancel()
        asked = isinstance(error, KeyboardInterrupt | SystemExit)
        raise (SweepInterrupted if asked else SweepError)(
            f"{_reason(error)} after {done} of {total} runs; "
            "they are kept: the same command resumes"
        ) from error
    if failures:
        raise SweepError(
            f"{len(failures)} of {total} runs failed, the others are kept; first: {failures[0]}"
        )


def _reason(error: BaseException) -> str:
    """Say why a sweep ends early."""
    if isinstance(error, BrokenProcessPool):
        return DEAD_WORKER
    if isinstance(error, CancelledError):
        return "the scheduler dropped the runs (is it still there?)"
    if isinstance(error, OSError):
        return f"the system gave an error ({error})"
    return "stopped"


def _intact(path: Path, run: Any, report: Report) -> bool:
    """Say whether a run's file is there and whole; name it and remove it where it is damaged."""
    if not path.exists():
        return False
    try:
        found = read_table(path)
        if found.schema.metadata[b"run"].decode() == _text(run):
            return True
        problem = "it holds another run"
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        if getattr(error, "errno", None):  # the system's: the file may be whole, and is kept
            raise SweepError(f"{path} cannot be read: {error}") from error
        problem = str(error)
    report(f"damaged result {path} is discarded and computed again: {problem}")
    path.unlink(missing_ok=True)
    return False


class _Pool(ProcessPoolExecutor):
    """A pool whose processes hear no signal of the terminal, not even while they start."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with signals.held_back():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def process_pool(jobs: int | None = None) -> Iterator[Executor]:
    """Open a pool of single-threaded processes, as many as processors that this process may use.

    What ends the block early ends the processes too, in the middle of their runs.

    Parameters
    ----------
    jobs : int, optional
        Another number of processes; on Windows at most 61 are used.

    Raises
    ------
    ValueError
        If ``jobs`` is less than 1.
    SweepError
        If a process dies by itself.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    workers = jobs or cpu_count()  # knows of affinity and of a container's share
    if sys.platform == "win32":
        workers = min(workers, MOST_ON_WINDOWS)
    # Started afresh: a forked process would inherit PyTorch's threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with signals.held_back():  # it starts a process too, which keeps track of semaphores
        executor = _Pool(workers, context, initializer=_start_worker)
    environment = dict.fromkeys(THREAD_VARIABLES, "1")  # the processes inherit it
    with mock.patch.dict(os.environ, environment), executor as pool:
        try:
            yield pool
        except BaseException as error:
            # Leaving the pool waits for everything that was submitted: hours, for nobody.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.kill()
            if isinstance(error, BrokenProcessPool):
                raise SweepError(DEAD_WORKER) from error
            raise


def _start_worker() -> None:
    """Leave its end to the parent, and use one thread."""
    signals.leave_to_parent()
    import torch

    torch.set_num_threads(1)


def _silent(done: int, total: int) -> None:
    """Show no progress."""
    del done, total


def _text(run: Any) -> str:
    return json.dumps(dataclasses.asdict(run), sort_keys=True)
