"""The learning-rate chapter's experiments: their networks, their statistics, their theorems."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch import nn

from bnlib.experiments.learning_rate import learning_rate as protocol
from bnlib.experiments.learning_rate import learning_rate_claims as claims
from bnlib.experiments.learning_rate import learning_rate_limit as limit
from bnlib.experiments.learning_rate import learning_rate_limit_claims as limit_claims
from bnlib.experiments.learning_rate import learning_rate_step as step


def trainings(top: dict[str, float], part: str = "map") -> pd.DataFrame:
    """Return a map in which each arm reaches 0.8 up to a rate and diverges beyond it."""
    rows = []
    for arm, last in top.items():
        for lr in protocol.RATES:
            for seed in range(5):
                key = {"part": part, "arm": arm, "depth": 4, "best": 0.25, "seed": seed, "lr": lr}
                fine = {"step": protocol.STEPS, "metric": "accuracy", "value": 0.8}
                lost = {"step": 3, "metric": "diverged", "value": 1.0}
                rows.append(key | (fine if lr <= last else lost))
    return pd.DataFrame(rows)


def test_only_the_last_block_of_the_last_arm_has_a_norm() -> None:
    net = protocol.network("last", 4)
    assert [isinstance(m, nn.BatchNorm1d) for m in net][1::3] == [False, False, False, True]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in protocol.network("bn", 4)) == 4
    assert not any(isinstance(m, nn.BatchNorm1d) for m in protocol.network("he", 4))


def test_largest_rates_are_compared_and_bounded_where_none_trains() -> None:
    found = claims.rate_gain(trainings({"default": 0.0, "he": 0.25, "bn": 2.0}))
    by_init = found.groupby("stratum")[["value", "censored"]].first()
    assert by_init.loc["he init, depth 4", "value"] == pytest.approx(math.log(8))
    assert by_init.loc["he init, depth 4", "censored"] == ""
    assert by_init.loc["default init, depth 4", "censored"] == "low"  # at least
    at_end = claims.rate_gain(trainings({"he": 0.25, "bn": 16.0}))
    assert set(at_end["censored"]) == {"low"}


def test_octaves_shares_and_points() -> None:
    table = trainings({"default": 0.0, "he": 0.25, "last": 1.0, "bn": 2.0})
    octaves = claims.extra_octaves(table).groupby("stratum")["value"].first()
    assert octaves["he init, depth 4"] == 3
    assert octaves["default init, depth 4"] == 10  # none trains: no good rate at all
    assert claims.last_share(table)["value"].tolist() == pytest.approx([2 / 3] * 5)
    assert claims.points(table, "map")["value"].tolist() == pytest.approx([70.0] * 5 + [0.0] * 5)
    assert claims.without_larger_rate(table)["value"].tolist() == pytest.approx([0.0] * 5)


def test_a_split_that_trains_to_the_end_of_its_grid_is_a_bound() -> None:
    keys = {"arm": "bn", "depth": limit.SPLIT_DEPTH, "step": limit.STEPS, "metric": "accuracy"}
    rows = [
        keys | {"part": part, "seed": seed, "lr": lr, "value": 0.8}
        for part, lr in (("together", 2.0), ("split", limit.SPLIT_RATES[-1]))
        for seed in range(5)
    ]
    start = keys | {"step": 0, "metric": "curvature", "lr": math.nan, "value": 1.0, "part": "split"}
    table = pd.DataFrame([*rows, *(start | {"seed": s} for s in range(5))])
    found = limit_claims.split_gain(table)
    assert set(found["censored"]) == {"low"}
    assert found["value"].tolist() == pytest.approx([math.log(4.0**10 / 2)] * 5)


def test_the_theorems_hold_on_random_data() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(200, 12, dtype=torch.float64), torch.randint(0, 10, (200,))
    assert step.excess(x, y) < 1e-9
    assert step.threshold(x, y) == pytest.approx(2, abs=0.01)


def test_one_step_reports_growth_of_linear_maps_and_kurtosis() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(100, 196), torch.randint(0, 10, (100,))
    net = protocol.network("he", 4)
    first = net[0]
    assert isinstance(first, nn.Linear)
    before = first(x).std()
    kurtosis, growth = step.one_step(net, x, y)
    assert growth[0].exp() == pytest.approx((first(x).std() / before).item(), rel=1e-5)
    g = first.weight.grad
    assert g is not None
    expected = g.double().pow(4).mean() / g.double().square().mean() ** 2
    assert kurtosis[0].exp() == pytest.approx(expected.item(), rel=1e-4)
