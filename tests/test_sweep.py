"""Sweeps: pure on every executor, resumable after any death, never corrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from conftest import require
from protocols import Run, counting, flip_a_bit, measure

from bnlib.codehash import code_hash
from bnlib.provenance import run_key
from bnlib.sweep import SweepError, connect, execute, sweep

RUNS = [Run("toy", seed) for seed in range(6)]
HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}


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


@pytest.mark.slow
def test_a_dying_worker_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"worker process died.*same command resumes"):
        sweep(measure, [Run("die", 0)], tmp_path, jobs=1)


SCRIPT = """
import signal
import sys
from protocols import Run, measure
from bnlib.sweep import SweepInterrupted, sweep
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
    """Start a real scheduler and two workers of two threads each on the loopback interface."""
    require("distributed")
    info = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", info]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": ENVIRONMENT}
    processes = [subprocess.Popen([*command, *map(str, options)], **quiet)]  # type: ignore[call-overload]
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
        processes += [subprocess.Popen(worker, **quiet) for _ in range(2)]  # type: ignore[call-overload]
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the cluster that is killed
def test_dask_with_a_worker_killed_in_mid_run(
    dask_cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    address, workers = dask_cluster
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
        executor._client.close()  # type: ignore[attr-defined]
    assert done[-1] == 8
    expected = pd.concat([execute(measure, run)[0] for run in runs], ignore_index=True)
    same(found, expected)


@pytest.mark.slow
def test_no_scheduler_is_one_clear_error() -> None:
    require("distributed")
    with pytest.raises(SweepError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        connect("tcp://127.0.0.1:9")
