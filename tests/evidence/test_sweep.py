"""Sweeps: pure on every executor, resumable after any death, never corrupted."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from conftest import lacks, require
from protocols import Run, counting, flip_a_bit, measure

import bnlib.evidence.sweep
from bnlib.evidence.codehash import code_hash
from bnlib.evidence.provenance import run_key
from bnlib.evidence.sweep import SweepError, SweepInterrupted, connect, execute, process_pool, sweep

RUNS = [Run("toy", seed) for seed in range(6)]
HERE = Path(__file__).parents[1]
# What other processes import is this checkout too.
PATHS = os.pathsep.join([str(HERE), str(HERE.parent)])
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def alone() -> pd.DataFrame:
    """Run everything by a plain loop in this process: what every executor must repeat."""
    return pd.concat([execute(measure, run)[0] for run in RUNS], ignore_index=True)


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(a, b, check_exact=True, check_dtype=False)


def test_pool_gives_the_bits_of_a_plain_loop(alone: pd.DataFrame, tmp_path: Path) -> None:
    same(sweep(measure, RUNS, tmp_path, jobs=2).table, alone)


def test_threads_of_one_process_do_not_mix_their_random_draws(
    alone: pd.DataFrame, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as executor:
        same(sweep(measure, RUNS, tmp_path, executor=executor).table, alone)


def test_finished_runs_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("BNLIB_TEST_MARKS", str(marks))
    with ThreadPoolExecutor(1) as executor:
        first = sweep(counting, RUNS[:3], tmp_path / "out", executor=executor)
        assert len(list(marks.iterdir())) == 3
        again = sweep(counting, RUNS[:4], tmp_path / "out", executor=executor)
    assert len(list(marks.iterdir())) == 4
    same(again.table.iloc[: len(first.table)], first.table)
    assert again.core_seconds > first.core_seconds > 0


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "other run"])
def test_damaged_file_is_named_and_computed_again(
    damage: str, alone: pd.DataFrame, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as executor:
        sweep(measure, RUNS, tmp_path, executor=executor)
        path, other = (tmp_path / f"{run_key(r, code_hash(measure))}.parquet" for r in RUNS[:2])
        raw = bytearray(path.read_bytes())
        if damage == "truncate":
            path.write_bytes(raw[: len(raw) // 2])
        elif damage == "flip":
            flip_a_bit(path)
        elif damage == "empty":
            path.write_bytes(b"")
        else:
            path.write_bytes(other.read_bytes())
        told: list[str] = []
        again = sweep(measure, RUNS, tmp_path, executor=executor, report=told.append)
    assert len(told) == 1
    assert str(path) in told[0]
    same(again.table, alone)


def test_a_failing_run_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    failure = pytest.raises(SweepError, match=r"1 of 3 runs failed.*kind='fail'.*meant to fail")
    with ThreadPoolExecutor(1) as executor, failure:
        sweep(measure, [*RUNS[:2], Run("fail", 0)], tmp_path, executor=executor)
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_a_result_that_cannot_be_read_is_not_discarded(tmp_path: Path) -> None:
    path = tmp_path / f"{run_key(RUNS[0], code_hash(measure))}.parquet"
    path.mkdir()  # stands for any error of the system: the file itself may be whole
    with ThreadPoolExecutor(1) as executor, pytest.raises(SweepError, match="cannot be read"):
        sweep(measure, RUNS, tmp_path, executor=executor)
    assert path.exists()


def test_a_folder_that_cannot_be_written_is_named_before_the_first_run(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(SweepError, match=r"file cannot be written: (File exists|Not a directory)"):
        sweep(measure, RUNS, blocked, on_done=lambda *_: pytest.fail("it began"))


def test_a_disk_that_fills_loses_nothing(alone: pd.DataFrame, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(finished: int, total: int) -> None:
        if finished == 2:  # from now on no file takes more than a hundred bytes
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))

    with ThreadPoolExecutor(1) as executor:
        try:
            with pytest.raises(SweepError, match=r"File too large.*after 2 of 6 runs.*are kept"):
                sweep(measure, RUNS, tmp_path, executor=executor, on_done=fill)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert len(list(tmp_path.iterdir())) == 2
        same(sweep(measure, RUNS, tmp_path, executor=executor).table, alone)


def test_an_interrupted_sweep_leaves_a_lent_executor_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("BNLIB_TEST_MARKS", str(marks))
    runs = [Run("toy", seed, seconds=0.1) for seed in range(30)]

    def interrupt(finished: int, total: int) -> None:
        if finished == 2:
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(SweepInterrupted, match="stopped after 2 of 30 runs"):
            sweep(counting, runs, tmp_path / "out", executor=executor, on_done=interrupt)
        assert executor.submit(abs, -1).result() == 1
        assert len(list(marks.iterdir())) < 30, "what waits is not begun"


def test_processes_are_as_many_as_may_be_used() -> None:
    if not hasattr(os, "sched_setaffinity"):
        lacks("a choice of processors")
    before = os.sched_getaffinity(0)
    for allowed in ({min(before)}, before):
        os.sched_setaffinity(0, allowed)
        try:
            with process_pool() as pool:
                assert 1 <= pool._max_workers <= len(allowed)
        finally:
            os.sched_setaffinity(0, before)
    with process_pool(3) as pool:
        assert pool._max_workers == 3
    with pytest.raises(ValueError, match="at least 1"), process_pool(0):
        pass


def test_windows_takes_61_processes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bnlib.evidence.sweep, "cpu_count", lambda: 96)
    monkeypatch.setattr(sys, "platform", "win32")  # Python's own pool then refuses more
    for jobs in (None, 96):
        with process_pool(jobs) as pool:
            assert pool._max_workers == 61


@pytest.mark.slow
def test_an_error_beside_the_pool_does_not_wait_for_its_runs() -> None:
    start = time.monotonic()

    def fail() -> None:
        with process_pool(1) as pool:
            assert pool.submit(abs, -1).result() == 1
            for _ in range(3):
                pool.submit(time.sleep, 100)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_a_dying_worker_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"worker process died.*same command resumes"):
        sweep(measure, [Run("die", 0)], tmp_path, jobs=1)


SCRIPT = """
import signal
import sys
from protocols import Run, measure
from bnlib.evidence.sweep import SweepInterrupted, sweep
if __name__ == "__main__":
    # As from a terminal; a shell's background jobs are started deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runs = [Run("toy", seed, seconds=float(sys.argv[2])) for seed in range(8)]
    try:
        sweep(measure, runs, sys.argv[1], jobs=2, on_done=lambda d, t: print(d, flush=True))
    except SweepInterrupted as stop:
        print(stop)
        sys.exit(130)
"""


def start(tmp_path: Path, folder: Path, seconds: float = 0.4) -> subprocess.Popen[str]:
    """Start the script's sweep of 8 runs in a session of its own."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(seconds)],
        env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(folder: Path, files: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if len(list(folder.glob("*.parquet"))) >= files:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("the sweep wrote nothing")


@pytest.mark.slow
def test_kill_in_mid_sweep_and_resume_gives_the_identical_table(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    process = start(tmp_path, folder, 1.0)
    wait_for(folder, 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.parquet")}
    assert 2 <= len(kept) < 8
    runs = [Run("toy", seed, seconds=1.0) for seed in range(8)]
    resumed = sweep(measure, runs, folder, jobs=2).table
    fresh = sweep(measure, runs, tmp_path / "fresh", jobs=2).table
    same(resumed, fresh)
    for name, written in kept.items():
        assert (folder / name).stat().st_mtime_ns == written, "finished runs were kept"


@pytest.mark.slow
def test_workers_end_when_their_parent_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    process = start(tmp_path, folder, 1.0)
    wait_for(folder, 1, process)
    os.kill(process.pid, signal.SIGKILL)  # it alone
    try:
        process.communicate(timeout=30)  # until nobody holds the pipes: the workers did
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_interrupt_stops_cleanly_and_says_how_to_resume(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    process = start(tmp_path, folder, 5.0)
    wait_for(folder, 1, process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command resumes" in output
    assert "Traceback" not in errors
    assert not list(folder.glob(".part-*"))


@pytest.mark.slow
def test_two_sweeps_at_once_on_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    pair = [start(tmp_path, folder) for _ in range(2)]
    for process in pair:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    told: list[str] = []
    runs = [Run("toy", seed, seconds=0.4) for seed in range(8)]
    with ThreadPoolExecutor(1) as executor:
        found = sweep(measure, runs, folder, executor=executor, report=told.append)
        fresh = sweep(measure, runs, tmp_path / "fresh", executor=executor)
    assert not told, "no file was damaged"
    same(found.table, fresh.table)


@pytest.fixture
def dask_cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start a real scheduler and two workers of two threads each on the loopback interface.

    The scheduler is the first of the processes.
    """
    require("distributed")
    info = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", info]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": ENVIRONMENT}
    processes = [subprocess.Popen([*command, *map(str, options)], **quiet)]
    try:
        for _ in range(600):
            if info.exists():
                break
            time.sleep(0.05)
        address = json.loads(info.read_text())["address"]
        worker = [
            sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard",
            "--nthreads", "2", "--no-nanny", "--local-directory", str(tmp_path),
        ]  # fmt: skip
        processes += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        yield address, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the cluster that is killed
def test_dask_with_a_worker_killed_in_mid_run(
    dask_cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    address, (_, *workers) = dask_cluster
    runs = [Run("toy", seed, seconds=0.5) for seed in range(8)]
    executor = connect(address)
    done: list[int] = []

    def kill_one(finished: int, total: int) -> None:
        done.append(finished)
        if finished == 2:
            workers[0].send_signal(signal.SIGKILL)

    try:
        found = sweep(measure, runs, tmp_path / "out", executor=executor, on_done=kill_one).table
    finally:
        executor._client.close()
    assert done[-1] == 8
    expected = pd.concat([execute(measure, run)[0] for run in runs], ignore_index=True)
    same(found, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the cluster that is killed
def test_dask_whose_scheduler_dies_is_one_clear_error(
    dask_cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    address, (scheduler, *_) = dask_cluster
    runs = [Run("toy", seed, seconds=0.5) for seed in range(12)]
    executor = connect(address)

    def kill(finished: int, total: int) -> None:
        if finished == 2:
            scheduler.send_signal(signal.SIGKILL)

    try:
        with pytest.raises(SweepError, match=r"scheduler dropped the runs.*the same command"):
            sweep(measure, runs, tmp_path / "out", executor=executor, on_done=kill)
    finally:
        executor._client.close()
    assert 2 <= len(list((tmp_path / "out").glob("*.parquet"))) < 12


@pytest.mark.slow
def test_no_scheduler_is_one_clear_error() -> None:
    require("distributed")
    with pytest.raises(SweepError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        connect("tcp://127.0.0.1:9")
