"""Comparison with stored runs on another processor: honest repetitions pass, damage is found."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bnlib.evidence.agreement import Agreement, compare
from bnlib.evidence.experiment import Experiment
from bnlib.evidence.store import has_results, load_results
from bnlib.evidence.verify import stored_runs
from bnlib.experiments import load, load_all

SEEDS = range(6)


def toy(**options: object) -> Experiment:
    """Return an experiment that runs nothing: only its name and how it is compared count."""
    return replace(load("fisher"), name="toy", **options)


def table(seeds: range = SEEDS) -> pd.DataFrame:
    """Return two arms at two rates each: a loss of about 2 at step 0, and three late ones."""
    rows = []
    for seed in seeds:
        for arm, level in (("none", 1.0), ("bn", 3.0)):
            for lr in (0.1, 1.0):
                rows += [(arm, seed, lr, 0, "loss", 2.0 + 0.1 * seed)]
                late = level + lr + 0.05 * seed
                rows += [(arm, seed, lr, step, "loss", late + step / 1e4) for step in (80, 90, 100)]
    return pd.DataFrame(rows, columns=["arm", "seed", "lr", "step", "metric", "value"])


def runs(rows: pd.DataFrame, factors: tuple[str, ...] = ("arm", "seed")) -> pd.DataFrame:
    return rows[list(factors)].drop_duplicates(ignore_index=True)


def found(again: pd.DataFrame, stored: pd.DataFrame | None = None, **options: object) -> Agreement:
    stored = table() if stored is None else stored
    return compare(toy(**options), stored, runs(again), again)


def changed(rows: pd.DataFrame, where: pd.Series, value: object) -> pd.DataFrame:
    return rows.assign(value=rows["value"].mask(where, value))


def test_what_is_stored_agrees_and_is_counted() -> None:
    agreement = found(table())
    assert agreement.problems.empty
    assert agreement.in_words() == ""
    assert (agreement.tight, agreement.loose) == (6 * 4, 6 * 4 * 3)


def test_early_values_are_compared_one_by_one() -> None:
    early = (table()["step"] == 0) & (table()["seed"] == 3)
    assert found(changed(table(), early, 2.3 + 1e-4)).problems.empty
    moved = found(changed(table(), early, 2.3 * 1.01))
    assert set(moved.problems["seed"]) == {3}
    assert "loss (step 0): stored 2.3, found 2.323, and 3 more" in moved.in_words()


def test_the_scale_is_that_of_the_setting() -> None:
    """A value a million times larger in another setting must not hide anything here."""
    stored = table()
    stored = changed(stored, stored["arm"] == "bn", 1e6 * stored["value"])
    early = (stored["step"] == 0) & (stored["arm"] == "none")
    assert not found(changed(stored, early, 1.01 * stored["value"]), stored).problems.empty


def test_late_values_are_compared_by_their_median_place_by_place() -> None:
    rows = table()
    late = rows["step"] > 0
    near = changed(rows, late, rows["value"] + 0.4)  # the seeds span .25
    assert found(near).problems.empty
    far = found(changed(rows, late & (rows["seed"] == 2), rows["value"] + 0.6))
    assert set(far.problems["seed"]) == {2}
    assert "median of later steps" in far.in_words()
    spike = changed(rows, rows["step"] == 90, 1e9)
    assert found(spike).problems.empty
    rates = rows.assign(lr=rows["lr"].map({0.1: 1.0, 1.0: 0.1}))  # right values at wrong rates
    assert len(found(rates).problems) == 6 * 4
    elsewhere = rows.assign(lr=rows["lr"] * 2)
    assert not found(elsewhere).problems.empty


def test_swapped_arms_and_shifted_seeds_are_found() -> None:
    rows = table()
    swapped = rows.assign(arm=rows["arm"].map({"none": "bn", "bn": "none"}))
    assert len(found(swapped).problems) == 6 * 4
    shifted = rows.assign(seed=(rows["seed"] + 1) % 6)
    assert len(found(shifted).problems) == 6 * 4


def test_few_seeds_borrow_the_range_of_all_settings() -> None:
    pair = table(range(2))
    pair = pair[~((pair["arm"] == "none") & (pair["seed"] == 1))]  # one arm has a single seed
    moved = changed(pair, (pair["arm"] == "none") & (pair["step"] > 0), pair["value"] + 0.09)
    assert found(moved, pair).problems.empty
    moved = changed(pair, (pair["arm"] == "none") & (pair["step"] > 0), pair["value"] + 0.3)
    assert set(found(moved, pair).problems["arm"]) == {"none"}


def test_a_rounding_error_is_only_bounded() -> None:
    rows = table().assign(value=1e-15 * np.arange(len(table())))
    again = rows.assign(value=rows["value"][::-1].to_numpy())
    assert not found(again).problems.empty
    assert found(again, rows, rounding={"loss": 1e-9}, drifts_from=math.inf).problems.empty
    broken = rows.assign(value=1e-6)
    assert not found(broken, rows, rounding={"loss": 1e-9}, drifts_from=math.inf).problems.empty


def test_a_drifting_metric_is_compared_loosely_from_the_start() -> None:
    rows = table()
    early = rows["step"] == 0
    again = changed(rows, early, rows["value"] + 0.2)  # the seeds span .5
    assert not found(again).problems.empty
    agreement = found(again, drifting=("loss",))
    assert agreement.problems.empty
    assert (agreement.tight, agreement.loose) == (0, len(rows))


def test_rows_that_only_one_side_has() -> None:
    rows = table()
    one = (rows["arm"] == "bn") & (rows["lr"] == 1.0) & (rows["seed"] == 0)
    assert not found(rows[~(one & (rows["step"] == 0))]).problems.empty
    assert not found(rows[~(one & (rows["step"] > 0))]).problems.empty
    # Where a stored seed diverged as well, another processor may diverge or not.
    other = (rows["arm"] == "bn") & (rows["lr"] == 1.0) & (rows["seed"] == 1) & (rows["step"] > 0)
    assert found(rows[~(one & (rows["step"] > 0))], rows[~other]).problems.empty


def test_how_far_a_search_went_is_no_place() -> None:
    rows = table().rename(columns={"lr": "at"})
    rows["at"] += 0.01 * rows["seed"]  # each seed ends elsewhere
    again = rows.assign(at=rows["at"] + 0.005)
    assert found(again, rows, drifts_from=0).problems.empty
    lost = changed(again, again["seed"] == 4, 99.0)
    assert set(found(lost, rows, drifts_from=0).problems["seed"]) == {4}


def test_a_run_may_have_its_seed_alone_and_no_steps() -> None:
    rows = pd.DataFrame({"seed": SEEDS, "metric": "error", "value": np.arange(6.0)})
    only = runs(rows, ("seed",))
    assert compare(toy(), rows, only, rows).problems.empty
    moved = changed(rows, rows["seed"] == 5, 5.05)
    assert compare(toy(), rows, only, moved).in_words().startswith("error (step 0): stored 5")


def stored_parts() -> list[tuple[str, str | None]]:
    """Return every experiment that is no timing, and its tuning where it has one."""
    names = [e.name for e in load_all() if not e.timed]
    parts: list[tuple[str, str | None]] = [(name, None) for name in names]
    return parts + [(name, "tuning") for name in names if has_results(name, part="tuning")]


def factors(name: str, part: str | None) -> list[str]:
    run = next(s.run for s in stored_runs([load(name)]) if s.part == part)
    return list(vars(run))


@pytest.mark.parametrize(("name", "part"), stored_parts())
def test_stored_runs_fed_back_agree_and_planted_damage_is_found(
    name: str, part: str | None
) -> None:
    experiment, stored = load(name), load_results(name, part=part)
    keys = factors(name, part)
    chosen = runs(stored, tuple(keys))
    agreement = compare(experiment, stored, chosen, stored)
    assert agreement.problems.empty
    assert agreement.tight + agreement.loose == len(stored)
    if not agreement.tight:
        return
    # In each run the largest of the tightly compared values is moved by 1%.
    steps = stored["step"] if "step" in stored else pd.Series(0, stored.index)
    loose = stored["metric"].isin([*experiment.rounding, *experiment.drifting])
    early = stored[(steps < experiment.drifts_from) & ~loose]
    if early.empty:
        return
    largest = early["value"].abs().groupby([early[k] for k in keys], dropna=False).idxmax()
    moved = changed(stored, stored.index.isin(largest), 1.01 * stored["value"])
    expected = stored.loc[largest]
    expected = expected[expected["value"] != 0]
    problems = compare(experiment, stored, chosen, moved).problems
    assert len(problems) == len(expected)


@pytest.mark.parametrize("name", ["convergence", "detach", "fisher", "landscape", "noise"])
def test_a_shifted_seed_is_found_in_stored_runs(name: str) -> None:
    stored, keys = load_results(name), factors(name, None)
    seeds = sorted(stored["seed"].unique())
    after = dict(zip(seeds, seeds[1:] + seeds[:1], strict=True))
    shifted = stored.assign(seed=stored["seed"].map(after))
    chosen = runs(stored, tuple(keys))
    problems = compare(load(name), stored, chosen, shifted).problems
    # Two seeds may have the same value by chance: 2 of 310 do in `fisher`.
    assert len(chosen.merge(problems[keys].drop_duplicates())) >= 0.99 * len(chosen)


@pytest.mark.parametrize(
    ("name", "column", "arms"),
    [
        ("gradients", "arm", ("bn", "none")),
        ("sharpness_start", "norm", ("bn", "none")),
        ("gradients_depth", "arm", ("bn", "none")),
    ],
)
def test_swapped_arms_are_found_in_stored_runs(
    name: str, column: str, arms: tuple[str, str]
) -> None:
    stored, keys = load_results(name), factors(name, None)
    swap = dict(zip(arms, arms[::-1], strict=True))
    swapped = stored.assign(**{column: stored[column].replace(swap)})
    problems = compare(load(name), stored, runs(swapped, tuple(keys)), swapped).problems
    touched = swapped[swapped[column].isin(arms)]
    assert len(problems[keys].drop_duplicates()) >= 0.5 * len(runs(touched, tuple(keys)))
    assert set(problems[column]) <= set(arms)
