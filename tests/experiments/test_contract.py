"""What holds for every experiment: its name, its columns, claims that its results can settle."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from bnlib import experiments
from bnlib.evidence.claims import NOT_RUN, judge
from bnlib.evidence.runner import tuned_rates
from bnlib.evidence.stats import MIN_SEEDS
from bnlib.evidence.store import load_results
from bnlib.experiments import load, names

FOLDER = Path(experiments.__file__).parent
CENSORED = {"", "low", "high", "both"}


def results(name: str) -> pd.DataFrame:
    """Return the stored results of the fewest seeds that settle anything."""
    table = load_results(name)
    return table[table["seed"].isin(list(load(name).seeds)[:MIN_SEEDS])]


@pytest.mark.parametrize("name", names())
def test_a_protocol_is_named_as_its_file_and_its_folder_as_its_chapter(name: str) -> None:
    experiment = load(name)
    assert experiment.name == name
    assert (FOLDER / experiment.chapter.replace("-", "_") / f"{name}.py").is_file()
    assert {claim.chapter for claim in experiment.claims} <= {experiment.chapter}
    assert experiment.claims
    assert len(experiment.seeds) >= MIN_SEEDS


@pytest.mark.parametrize("name", names())
def test_runs_and_results_have_the_factors_of_the_run(name: str) -> None:
    experiment = load(name)
    runs = experiment.runs(list(experiment.seeds)[:2], tuned_rates(experiment))
    assert len(set(runs)) == len(runs)  # hashable, and none twice
    factors = {field.name for field in dataclasses.fields(runs[0])}
    assert "seed" in factors
    columns = set(load_results(name).columns)
    assert factors | {"metric", "value"} <= columns
    if experiment.tuning is not None:
        assert {run.seed for run in experiment.tuning()}.isdisjoint(experiment.seeds)
        assert set(load_results(name, part="tuning").columns) == columns


@pytest.mark.parametrize("name", names())
def test_every_claim_can_be_judged_from_the_fewest_seeds(name: str) -> None:
    table = results(name)
    for claim in load(name).claims:
        assert claim.statistic is not None, claim.id
        values = claim.statistic(table)
        assert {"seed", "value"} <= set(values.columns), claim.id
        assert set(values["seed"]) <= set(table["seed"]), claim.id
        assert set(values.get("censored", [""])) <= CENSORED, claim.id
        assert values["value"].notna().all(), claim.id
        assert judge(claim, table).verdict != NOT_RUN, claim.id
