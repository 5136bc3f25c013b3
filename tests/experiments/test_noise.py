"""The experiments on noise: what they choose and compare, on made-up tables, and the law."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from bnlib.experiments.noise import noise, noise_conv, noise_conv_claims
from bnlib.experiments.noise import noise_training as protocol
from bnlib.experiments.noise import noise_training_claims as claims


def record(run: protocol.Run, accuracy: float, again: float = 0.0) -> pd.DataFrame:
    """Return what a run would have recorded with a constant accuracy."""
    rows = [(step, "accuracy", accuracy) for step in protocol.RECORDED]
    rows += [(step, "recalibrated", again) for step in protocol.RECORDED if step >= protocol.LAST]
    table = pd.DataFrame(rows, columns=["step", "metric", "value"])
    return table.assign(**vars(run))


def tuned() -> dict[str, float]:
    """Return rates that no two arms share."""
    found = {f"{net}/{arm}/{p}": 0.1 for net in protocol.NETS for arm, p in protocol.TUNED}
    found |= {f"{net}/bn/{p}": 1.0 for net in protocol.NETS for p in (0.0, *protocol.DROPS)}
    return found | {f"{net}/{arm}/drop": 0.2 for net in protocol.NETS for arm in ("none", "bn")}


def test_the_best_rate_and_dropout_are_chosen_per_arm() -> None:
    best = {("plain", "none"): (0.5, 0.04), ("plain", "bn"): (0.2, 1.0)}
    tables = []
    for run in protocol.tuning():
        drop, lr = best.get((run.net, run.arm), (0.2, 0.1))
        score = 0.8 - abs(np.log(run.lr / lr)) / 50 + 0.01 * (run.drop == drop)
        tables.append(record(run, score))
    found = protocol.choose(pd.concat(tables))
    assert found["plain/none/0.0"] == found["plain/none/0.5"] == 0.04
    assert found["plain/bn/0.2"] == 1.0
    assert found["residual/noise/0.0"] == 0.1
    assert (found["plain/none/drop"], found["plain/bn/drop"]) == (0.5, 0.2)


def test_arms_are_compared_on_the_same_seed_and_lost_runs_have_chance() -> None:
    base = {"none": 0.80, "bn": 0.82, "quiet": 0.81, "ghost": 0.83, "noise": 0.84}
    tables = []
    for run in protocol.runs(range(5), tuned()):
        score = (
            base[run.arm] + 0.001 * run.seed + 0.02 * (run.drop > 0) - 0.05 * (run.part == "low")
        )
        tables.append(record(run, score, score + 0.01))
    table = pd.concat(tables)
    scores = claims.scores(table)
    assert len(scores) == 2 * 5
    for formula, expected in {
        "bn - none": 2.0,
        "bn - bn_low": 5.0,
        "(quiet - quiet_low) - (bn - quiet)": 4.0,
        "(none_drop - none) - (bn_drop - bn)": 0.0,
        "bn_drop_re - bn_drop": 1.0,
    }.items():
        found = claims.contrast(table, formula)
        assert list(found["stratum"].unique()) == ["plain", "residual"]
        assert found["value"].to_numpy() == pytest.approx(expected)
    lost = (table["arm"] == "none") & (table["seed"] == 3) & (table["drop"] == 0)
    end = table[lost].groupby("net").head(1).assign(step=7, metric="diverged", value=1.0)
    found = claims.scores(pd.concat([table[~lost], end]))["none"]
    assert found.xs(3, level="seed").to_numpy() == pytest.approx(10.0)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_law_holds_for_all_batches_of_a_small_population(size: int) -> None:
    values = np.array([0.0, 1.0, 1.0, 5.0])
    fourth, var = ((values - values.mean()) ** 4).mean(), values.var()
    batches = np.array(list(itertools.product(values, repeat=size)))
    assert noise.derived(size, fourth, var) == pytest.approx(batches.var(1).var())


def test_shares_are_told_apart_by_layer_and_time() -> None:
    rows = [
        (step, f"share {k}", -k - step / 1000, 0) for step in (0, noise_conv.STEPS) for k in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["step", "metric", "value", "seed"])
    found = noise_conv_claims.share(table).set_index("stratum")["value"]
    assert found["layer 1, at the start"] == -1.0
    assert found["layer 2, trained"] == -2 - noise_conv.STEPS / 1000
