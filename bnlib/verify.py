"""Run a random sample of the stored runs again and compare."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bnlib.codehash import code_hash
from bnlib.experiments import Experiment
from bnlib.provenance import cpu_model
from bnlib.results import has_results, load_results, provenance, save_provenance
from bnlib.runner import tuned_rates
from bnlib.sweep import execute

EARLY_STEPS, EARLY_TOLERANCE = 50, 1e-4


@dataclass(frozen=True)
class Check:
    """One run that was made again: whether it agrees, and in which sense."""

    experiment: str
    run: Any
    agrees: bool
    detail: str


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

    On the processor that made the results every value must agree to the bit. On another one
    trainings drift apart: there, what was measured in the first 50 steps must agree within
    1e-4, and each final value lie within the stored range over seeds.

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
        check = _compare(stored, future.result()[0], results)
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


def _compare(stored: Stored, again: pd.DataFrame, results: Path | str | None) -> Check:
    name = stored.experiment.name
    table = load_results(name, results, part=stored.part)
    before = _select(table, stored.run)
    if provenance(name, results)["cpu"] == cpu_model():
        same = _equal(before, again)
        detail = "equal to the bit" if same else "differs on the same processor"
    else:
        table, before, again = (_stepped(t) for t in (table, before, again))
        same = _early_agree(before, again) and _final_in_range(table, stored.run, again)
        detail = "agrees within the tolerance for another processor" if same else "differs"
    return Check(name, stored.run, same, detail)


def _select(table: pd.DataFrame, run: Any) -> pd.DataFrame:
    """Return the rows of one run."""
    mask = pd.Series(True, index=table.index)
    for factor, value in dataclasses.asdict(run).items():
        mask &= table[factor].isna() if value is None else table[factor] == value
    return table[mask].reset_index(drop=True)


def _equal(before: pd.DataFrame, again: pd.DataFrame) -> bool:
    if list(before.columns) != list(again.columns) or len(before) != len(again):
        return False
    for column in before.columns:
        a, b = before[column], again[column]
        if not ((a == b) | (a.isna() & b.isna())).all():
            return False
    return True


def _stepped(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which what has no step has step 0."""
    return table if "step" in table else table.assign(step=0)


def _early_agree(before: pd.DataFrame, again: pd.DataFrame) -> bool:
    keys = [c for c in before.columns if c != "value"]
    early = before[before["step"] <= EARLY_STEPS].merge(again, on=keys, suffixes=("", "_again"))
    counts = (before["step"] <= EARLY_STEPS).sum(), (again["step"] <= EARLY_STEPS).sum()
    close = np.isclose(
        early["value"], early["value_again"], rtol=EARLY_TOLERANCE, atol=EARLY_TOLERANCE,
        equal_nan=True,
    )  # fmt: skip
    return len(early) == counts[0] == counts[1] and bool(close.all())


def _final_in_range(table: pd.DataFrame, run: Any, again: pd.DataFrame) -> bool:
    """Compare the last value of each metric with the stored seeds of the same setting.

    The range is widened by its own width on both sides: another processor is like one more
    seed, which lies outside of the range of n others with probability 2 / (n + 1).
    """
    factors = {k: v for k, v in dataclasses.asdict(run).items() if k != "seed"}
    same = table
    for factor, value in factors.items():
        same = same[same[factor].isna() if value is None else same[factor] == value]
    # What a run measured at several places (rates, layers) is compared place by place.
    columns = [c for c in again.columns if c not in ("step", "value")]
    stored = dict(iter(same.groupby(same[columns].map(str).agg(" ".join, axis=1))))
    for place, rows in again.groupby(again[columns].map(str).agg(" ".join, axis=1)):
        if place not in stored:
            return False
        last = rows.sort_values("step")["value"].iloc[-1]
        finals = stored[place]
        finals = finals.loc[finals.groupby("seed")["step"].idxmax(), "value"]
        slack = finals.max() - finals.min() + EARLY_TOLERANCE
        if not finals.min() - slack <= last <= finals.max() + slack:
            return False
    return True
