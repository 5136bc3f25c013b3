"""Run an experiment: choose its rates, sweep its runs, store the results with their provenance."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlib.evidence.claims import claims_hash
from bnlib.evidence.codehash import code_hash
from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.provenance import grid_hash, stamp
from bnlib.evidence.store import (
    ResultsError,
    has_results,
    load_results,
    provenance,
    results_folder,
    save_provenance,
    save_results,
)
from bnlib.evidence.sweep import sweep
from bnlib.files import make_writable

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Cost:
    """How many runs an experiment has and what they will cost, in seconds on one core."""

    runs: int
    core_seconds: float


def run_experiment(
    experiment: Experiment,
    *,
    seeds: Sequence[int] | None = None,
    results: Path | str | None = None,
    executor: Executor | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Run an experiment and return the file of its results.

    Rates are chosen anew only where the experiment's own results are made, with its own seeds
    in the folder of the package; elsewhere the committed ones are used, so that a replication
    on other seeds tests what the book reports.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    seeds : sequence of int, optional
        Other seeds than the committed ones.
    results : path, optional
        Folder for the results and, in ``.parts``, for the files of single runs.
    executor, jobs
        As in `bnlib.evidence.sweep.sweep`.
    progress : callable, optional
        Called as ``progress(part, finished, total)``.
    report : callable
        Told about damaged files.

    Raises
    ------
    ResultsError
        If the folder cannot be written: that is tried before the first run.
    """
    chosen = list(experiment.seeds if seeds is None else seeds)
    folder = results_folder(results)
    try:
        make_writable(folder)
    except OSError as error:
        raise ResultsError(
            f"results cannot be written into {folder} ({error.strerror}); "
            "name another folder with --results"
        ) from error
    parts = folder / ".parts" / experiment.name
    tell = progress or _silent
    options: dict[str, Any] = {"executor": executor, "jobs": jobs, "report": report}
    # Taken before the first run: a tree that changes meanwhile is not what the runs were made of.
    origin = stamp()
    start = time.monotonic()

    core_seconds = 0.0
    tuned, is_new = _stored_rates(experiment, folder, seeds)
    if is_new and experiment.tuning is not None and experiment.choose is not None:
        done = sweep(
            experiment.measure,
            experiment.tuning(),
            parts,
            on_done=lambda d, t: tell("tuning", d, t),
            **options,
        )
        save_results(experiment.name, done.table, folder, part="tuning")
        tuned = experiment.choose(done.table)
        core_seconds += done.core_seconds
    runs = experiment.runs(chosen, tuned)
    done = sweep(
        experiment.measure, runs, parts, on_done=lambda d, t: tell("runs", d, t), **options
    )
    path = save_results(experiment.name, done.table, folder)
    content = {
        "experiment": experiment.name,
        "seeds": chosen,
        "runs": len(runs),
        "tuned": tuned,
        "tuning_runs": len(experiment.tuning()) if is_new and experiment.tuning else 0,
        "grid_hash": grid_hash(runs),
        "code_hash": code_hash(experiment.measure),
        "claims_hash": claims_hash(experiment.claims),
        "wall_seconds": round(time.monotonic() - start, 1),
        "core_seconds": round(core_seconds + done.core_seconds, 1),
        **origin,
    }
    save_provenance(experiment.name, content, folder)
    return path


def cost(experiment: Experiment, seeds: Sequence[int] | None = None) -> Cost:
    """Return what running an experiment will cost, from its last run or its declared cost."""
    committed = list(experiment.seeds)
    chosen = committed if seeds is None else list(seeds)
    share = len(chosen) / len(committed)
    try:
        seconds = float(provenance(experiment.name)["core_seconds"])
    except ResultsError:
        seconds = 60.0 * experiment.core_minutes
    runs = len(experiment.runs(chosen, _any_rates(experiment)))
    if seeds is None and experiment.tuning is not None:
        runs += len(experiment.tuning())
    return Cost(runs, seconds * share)


def tuned_rates(experiment: Experiment, results: Path | str | None = None) -> Tuned:
    """Return the rates chosen from the stored tuning runs; none where nothing is tuned.

    Raises
    ------
    ResultsError
        If the experiment has tuning runs and no folder holds them.
    """
    if experiment.choose is None:
        return {}
    folder = results_folder(results)
    if not has_results(experiment.name, folder, "tuning"):
        folder = results_folder()
    return experiment.choose(load_results(experiment.name, folder, part="tuning"))


def _stored_rates(
    experiment: Experiment, folder: Path, seeds: Sequence[int] | None
) -> tuple[Tuned, bool]:
    """Return the rates to use, and whether they must be chosen anew first."""
    if experiment.tuning is None:
        return {}, False
    own = folder.resolve() == results_folder().resolve() and seeds is None
    if own or not has_results(experiment.name, None, "tuning"):
        return {}, True
    return tuned_rates(experiment), False


def _any_rates(experiment: Experiment) -> Tuned:
    """Return rates with which runs can be counted before any were chosen."""
    try:
        return tuned_rates(experiment)
    except ResultsError:
        return _AnyRate()


class _AnyRate(dict[str, Any]):
    """Gives every arm the rate 1: enough to count runs."""

    def __missing__(self, key: str) -> float:
        return 1.0


def _silent(part: str, done: int, total: int) -> None:
    """Show no progress."""
    del part, done, total
