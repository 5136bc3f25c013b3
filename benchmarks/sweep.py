"""What the sweep gains: the same runs by the sweep, by a plain loop, and by a careless loop.

Three ways to run the same trainings of the chapter on convergence, in one script, each in a
fresh process so that none profits from another's warm caches:

- ``sweep``: `bnlib.evidence.sweep` on all cores, one single-threaded process per core;
- ``loop, 1 thread``: a ``for`` loop in one process that uses one thread;
- ``loop, default``: the same loop with the number of threads that PyTorch chooses.

The runs differ in nothing but the seed. Times include starting processes and loading data. The
figures of merit are ratios of times taken in the same call; the rounds alternate, and the median
counts, because shared machines are noisy.

Run: python benchmarks/sweep.py [--runs 8] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from joblib import cpu_count

from bnlib.evidence.sweep import THREAD_VARIABLES, execute, sweep
from bnlib.experiments.convergence.convergence import Run, measure

WAYS = ("sweep", "loop, 1 thread", "loop, default")


def runs(count: int) -> list[Run]:
    """Return trainings of the grid, on seeds that belong to no experiment."""
    return [Run("grid", "bn", "0.1", 0.5, 9900 + i) for i in range(count)]


def work(way: str, count: int) -> float:
    """Do all runs in one of the three ways; the seconds it took."""
    start = time.perf_counter()
    if way == "sweep":
        with tempfile.TemporaryDirectory() as folder:
            sweep(measure, runs(count), folder)
    elif way == "loop, 1 thread":
        for run in runs(count):
            execute(measure, run)
    else:
        careless(runs(count))
    return time.perf_counter() - start


def careless(todo: list[Run]) -> None:
    """Train like `measure` but with PyTorch's default number of threads."""
    import torch

    threads = torch.get_num_threads()
    original = torch.set_num_threads
    # `measure` asks for one thread, to be reproducible; here this wish is not granted.
    torch.set_num_threads = lambda _: original(threads)
    try:
        for run in todo:
            execute(measure, run)
    finally:
        torch.set_num_threads = original


def timed(way: str, count: int) -> float:
    """Run one way in a process of its own."""
    environment = dict(os.environ)
    for name in THREAD_VARIABLES:
        environment.pop(name, None)
        if way == "loop, 1 thread":
            environment[name] = "1"
    command = [sys.executable, __file__, "--way", way, "--runs", str(count)]
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", check=True
    )
    return float(json.loads(done.stdout))


def main() -> None:
    """Print a table of the ways and, on the last lines, the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(work(arguments.way, arguments.runs)))
        return
    print(f"{arguments.runs} runs, {arguments.rounds} rounds, {cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f} at the start")  # fmt: skip
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way in WAYS:
            times[way].append(timed(way, arguments.runs))
            print(f"{way:16} {times[way][-1]:7.1f} s", flush=True)
    for rival in WAYS[1:]:
        ratios = [b / a for a, b in zip(times["sweep"], times[rival], strict=True)]
        listed = ", ".join(f"{r:.2f}" for r in ratios)
        print(f"{rival} / sweep: median {statistics.median(ratios):.2f} ({listed})")


if __name__ == "__main__":
    main()
