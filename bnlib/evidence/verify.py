"""Run a random sample of the stored runs again and compare."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bnlib.evidence.agreement import compare
from bnlib.evidence.codehash import code_hash
from bnlib.evidence.experiment import Experiment
from bnlib.evidence.provenance import cpu_model, torch_version
from bnlib.evidence.runner import tuned_rates
from bnlib.evidence.store import (
    ResultsError,
    has_results,
    load_results,
    provenance,
    save_provenance,
)
from bnlib.evidence.sweep import execute


@dataclass(frozen=True)
class Check:
    """One run that was made again: whether it agrees, in which sense, and by how many values.

    ``exact`` values were compared to the bit, ``tight`` and ``loose`` ones as `agreement` says.
    """

    experiment: str
    run: Any
    agrees: bool
    detail: str
    exact: int = 0
    tight: int = 0
    loose: int = 0


@dataclass(frozen=True)
class Stored:
    """A run as the store has it."""

    experiment: Experiment
    run: Any
    part: str | None


def stored_runs(experiments: list[Experiment], results: Path | str | None = None) -> list[Stored]:
    """Return every run in the store whose values are not timings."""
    found = []
    for experiment in experiments:
        if experiment.timed or not has_results(experiment.name, results):
            continue
        seeds = provenance(experiment.name, results)["seeds"]
        runs = experiment.runs(seeds, tuned_rates(experiment, results))
        found += [Stored(experiment, run, None) for run in runs]
        if experiment.tuning is not None and has_results(experiment.name, results, "tuning"):
            found += [Stored(experiment, run, "tuning") for run in experiment.tuning()]
    return found


def verify(
    experiments: list[Experiment],
    *,
    sample: int,
    seed: int,
    executor: Executor,
    results: Path | str | None = None,
    on_check: Callable[[Check], None] | None = None,
) -> list[Check]:
    """Repeat ``sample`` random runs of the store and compare them with what is stored.

    On the processor that made the results, with its version of PyTorch, every value must agree
    to the bit. Elsewhere trainings drift apart, and values are compared as `agreement` says.

    Parameters
    ----------
    experiments : list of Experiment
        Which experiments to sample from.
    sample, seed : int
        How many runs, and the seed of their choice.
    executor : Executor
        Where to run them.
    results : path, optional
        Folder of the store.
    on_check : callable, optional
        Told about every finished check.
    """
    everything = stored_runs(experiments, results)
    chosen = random.Random(seed).sample(everything, min(sample, len(everything)))
    futures = [executor.submit(execute, s.experiment.measure, s.run) for s in chosen]
    checks = []
    for stored, future in zip(chosen, futures, strict=True):
        check = _checked(stored, future, results)
        checks.append(check)
        if on_check is not None:
            on_check(check)
    return checks


def outdated(experiments: list[Experiment], results: Path | str | None = None) -> list[Experiment]:
    """Return the experiments whose measuring code is not the code that made their results."""
    return [
        e
        for e in experiments
        if has_results(e.name, results)
        and provenance(e.name, results)["code_hash"] != code_hash(e.measure)
    ]


def restamp(experiment: Experiment, results: Path | str | None = None) -> None:
    """Record that the present code makes the stored results; call it after a sample agreed."""
    content = provenance(experiment.name, results)
    content["code_hash"] = code_hash(experiment.measure)
    save_provenance(experiment.name, content, results)


def same_machine(content: dict[str, Any]) -> bool:
    """Say whether results of this provenance can be repeated to the bit here."""
    return (content["cpu"], content["versions"]["torch"]) == (cpu_model(), torch_version())


def _checked(
    stored: Stored, future: Future[tuple[pd.DataFrame, float]], results: Path | str | None
) -> Check:
    try:
        return _compare(stored, future.result()[0], results)
    except (BrokenProcessPool, ResultsError):
        raise
    except Exception as error:  # whatever a measurement may raise, the others are still compared
        detail = f"cannot be repeated ({type(error).__name__}: {error})"
        return Check(stored.experiment.name, stored.run, False, detail)


def _compare(stored: Stored, again: pd.DataFrame, results: Path | str | None) -> Check:
    name = stored.experiment.name
    table = load_results(name, results, part=stored.part)
    run = _factors(stored, table)
    if same_machine(provenance(name, results)):
        same = _equal(table.merge(run, on=list(run.columns)), again)
        detail = "equal to the bit" if same else "differs on the same processor"
        return Check(name, stored.run, same, detail, exact=len(again))
    found = compare(stored.experiment, table, run, again)
    detail = found.in_words() or f"agrees: {found.tight} values tightly, {found.loose} loosely"
    return Check(
        name, stored.run, found.problems.empty, detail, tight=found.tight, loose=found.loose
    )


def _factors(stored: Stored, table: pd.DataFrame) -> pd.DataFrame:
    """Return the factors of one run as a row, in the types of the table."""
    row = pd.DataFrame([dataclasses.asdict(stored.run)])
    if lost := sorted(set(row.columns) - set(table.columns)):
        name = stored.experiment.name
        raise ResultsError(
            f"the results of {name} lack the factors {', '.join(lost)}, so they are another "
            f"version's; run: bnlib run {name}"
        )
    return row.astype({name: table[name].dtype for name in row.columns})


def _equal(before: pd.DataFrame, again: pd.DataFrame) -> bool:
    """Say whether two tables have the same values in every cell, missing ones included."""
    if list(before.columns) != list(again.columns) or len(before) != len(again):
        return False
    before, again = before.reset_index(drop=True), again.reset_index(drop=True)
    return bool(((before == again) | (before.isna() & again.isna())).to_numpy().all())
