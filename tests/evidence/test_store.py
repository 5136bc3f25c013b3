"""The toys: what is written is read back, damage is named, hashes see what matters."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from protocols import Run, flip_a_bit, measure

from bnlib import experiments
from bnlib.book import ledger
from bnlib.evidence import claims, codehash, provenance, runner, store, verify
from bnlib.evidence.claims import Claim
from bnlib.evidence.experiment import Experiment
from bnlib.evidence.store import ResultsError
from bnlib.experiments import load, load_all


def final_loss(table: pd.DataFrame) -> pd.DataFrame:
    """Return the toy's last loss per seed."""
    return table[(table["metric"] == "loss") & (table["step"] == 30)][["seed", "value"]]


CLAIM = Claim(
    "toy-learns", "toy", "empirical", "The toy learns.", "A loss below 0.3.", ("ioffe2015",),
    final_loss, support=0.7, refute=0.9,
)  # fmt: skip


def toy_runs(seeds: object, tuned: object) -> list[Run]:
    """Return one run per seed."""
    del tuned
    return [Run("toy", seed) for seed in seeds]


TOY = Experiment("toy", "A toy", "toy", range(5), toy_runs, measure, 0.1, claims=(CLAIM,))


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """Run the toy and return its store."""
    with ThreadPoolExecutor(1) as executor:
        runner.run_experiment(TOY, results=tmp_path, executor=executor)
    return tmp_path


def test_round_trip(toys: Path) -> None:
    table = store.load_results("toy", toys)
    expected = pd.concat([measure(Run("toy", s)).assign(seed=s) for s in range(5)])
    assert table["value"].tolist() == expected["value"].tolist()
    assert list(table.columns) == ["kind", "seed", "seconds", "step", "metric", "value"]
    info = store.provenance("toy", toys)
    assert info["seeds"] == list(range(5))
    assert info["runs"] == 5
    assert info["code_hash"] == codehash.code_hash(measure)
    assert info["core_seconds"] > 0
    assert {"commit", "clean", "date", "cpu", "versions", "grid_hash", "claims_hash"} <= set(info)


def test_no_pickles(toys: Path) -> None:
    kinds = {path.suffix for path in toys.rglob("*") if path.is_file()}
    assert kinds == {".parquet", ".json"}


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_damaged_results_are_named(toys: Path, keep: float) -> None:
    path = toys / "toy.parquet"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(ResultsError, match=r"toy.parquet is damaged.*bnlib run toy"):
        store.load_results("toy", toys)


def test_flipped_bit_in_a_page_is_noticed(toys: Path) -> None:
    flip_a_bit(toys / "toy.parquet")
    with pytest.raises(ResultsError, match="is damaged"):
        store.load_results("toy", toys)


def test_missing_and_damaged_provenance(toys: Path) -> None:
    with pytest.raises(ResultsError, match="bnlib run other"):
        store.provenance("other", toys)
    with pytest.raises(ResultsError, match="bnlib run other"):
        store.load_results("other", toys)
    (toys / "toy.json").write_text("{")
    with pytest.raises(ResultsError, match="is damaged"):
        store.provenance("toy", toys)


def test_verify_accepts_the_truth_and_names_a_lie(toys: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        options = {"sample": 5, "seed": 0, "executor": executor, "results": toys}
        checks = verify.verify([TOY], **options)
        assert [c.agrees for c in checks] == [True] * 5
        table = store.load_results("toy", toys)
        table.loc[table["seed"] == 3, "value"] += 1e-15 + 1e-3
        store.save_results("toy", table, toys)
        lies = [c for c in verify.verify([TOY], **options) if not c.agrees]
    assert [c.run.seed for c in lies] == [3]


def test_verify_on_another_processor_has_a_tolerance(toys: Path) -> None:
    info = store.provenance("toy", toys)
    store.save_provenance("toy", {**info, "cpu": "another one"}, toys)
    table = store.load_results("toy", toys)
    with ThreadPoolExecutor(1) as executor:
        options = {"sample": 5, "seed": 0, "executor": executor, "results": toys}
        for shift, agrees in ((1e-6, True), (1e-2, False)):
            store.save_results("toy", table.assign(value=table["value"] + shift), toys)
            checks = verify.verify([TOY], **options)
            assert {c.agrees for c in checks} == {agrees}


def test_verify_names_a_run_that_fails_and_results_of_another_version(toys: Path) -> None:
    def broken(run: Run) -> pd.DataFrame:
        raise ArithmeticError(f"seed {run.seed}")

    with ThreadPoolExecutor(1) as executor:
        options = {"sample": 2, "seed": 0, "executor": executor, "results": toys}
        checks = verify.verify([replace(TOY, measure=broken)], **options)
        assert not any(check.agrees for check in checks)
        assert "cannot be repeated (ArithmeticError: seed" in checks[0].detail
        table = store.load_results("toy", toys)
        store.save_results("toy", table.drop(columns="kind"), toys)
        with pytest.raises(ResultsError, match=r"lack the factors kind.*bnlib run toy"):
            verify.verify([TOY], **options)


def test_restamp_records_the_new_hash(toys: Path) -> None:
    info = store.provenance("toy", toys)
    assert verify.outdated([TOY], toys) == []
    store.save_provenance("toy", {**info, "code_hash": "old"}, toys)
    assert verify.outdated([TOY], toys) == [TOY]
    verify.restamp(TOY, toys)
    assert store.provenance("toy", toys) == info


def test_a_threshold_edited_after_the_run_is_flagged(toys: Path) -> None:
    ((found, edited),) = ledger._judged(TOY, toys)
    assert found.verdict == "supported"
    assert not edited
    later = replace(TOY, claims=(replace(CLAIM, support=0.6),))
    ((_, edited),) = ledger._judged(later, toys)
    assert edited
    assert claims.claims_hash(later.claims) != claims.claims_hash(TOY.claims)


def test_other_results_are_judged_by_themselves(toys: Path) -> None:
    table = store.load_results("toy", toys)
    store.save_results("toy", table.assign(value=1.0), toys)
    ((found, _),) = ledger._judged(TOY, toys)
    assert found.verdict == "refuted"


def test_a_p_of_what_is_open_on_both_sides_is_missing(toys: Path) -> None:
    ((found, edited),) = ledger._judged(TOY, toys)
    for censored, missing in (("low", False), ("both", True)):
        row = ledger._row(replace(found, censored=censored), 0.01, "toy", edited)
        assert math.isnan(row["p"]) == missing


def test_a_protocol_is_read_in_one_go() -> None:
    folder = Path(experiments.__file__).parent
    files = {name: next(folder.glob(f"*/{name}.py")) for name in experiments.names()}
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in files.items()}
    assert {name: n for name, n in lengths.items() if n >= 150} == {}


def test_every_claim_has_one_id_a_chapter_and_sources() -> None:
    rows = ledger.ledger()
    assert rows["id"].is_unique
    assert rows["sources"].map(len).min() > 0
    assert set(rows["verdict"]) <= {"supported", "refuted", "depends", "inconclusive", "not run"}


def test_the_replication_judges_the_same_claims_on_other_seeds_at_the_same_rates() -> None:
    folder = store.results_folder() / "replication"
    for experiment in load_all():
        again, info = (store.provenance(experiment.name, f) for f in (folder, None))
        assert again["clean"]
        assert not set(again["seeds"]) & set(info["seeds"])
        assert again["tuned"] == info["tuned"], experiment.name
        assert again["claims_hash"] == info["claims_hash"], experiment.name


def test_committed_results_are_those_of_the_code() -> None:
    for experiment in load_all():
        info = store.provenance(experiment.name)
        runs = experiment.runs(list(experiment.seeds), runner.tuned_rates(experiment))
        assert info["seeds"] == list(experiment.seeds)
        assert info["grid_hash"] == provenance.grid_hash(runs), experiment.name
        assert info["clean"], f"{experiment.name} was run on a tree with changes"
        assert info["tuned"] == json.loads(json.dumps(runner.tuned_rates(experiment)))
    assert not ledger.ledger()["edited"].any()


@pytest.mark.parametrize("folder", ["", "replication"])
def test_no_code_behind_stored_results_has_changed(folder: str) -> None:
    outdated = verify.outdated(load_all(), store.results_folder() / folder)
    assert [experiment.name for experiment in outdated] == []


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match=r"there are: .*convergence"):
        load("nothing")
    with pytest.raises(KeyError, match="bnlib claims"):
        ledger.judgement("nothing")
