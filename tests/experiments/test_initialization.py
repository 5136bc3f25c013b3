"""The search for the band of initial scales: its bisection, its networks, its rates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bnlib.experiments.initialization import initialization as protocol
from bnlib.experiments.initialization import initialization_claims as claims
from bnlib.experiments.initialization import initialization_map as maps
from bnlib.experiments.initialization import initialization_map_claims as map_claims
from bnlib.experiments.initialization import initialization_signal as signal
from bnlib.lab.data import ImageData
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible


def run(arm: str = "bn", side: int = -1, depth: int = 8) -> protocol.Run:
    return protocol.Run("band", arm, depth, 0.1, side, 0)


def pretend(monkeypatch: pytest.MonkeyPatch, low: float, high: float) -> None:
    """Let exactly the scales between low and high train."""

    def trained(_run: protocol.Run, at: float) -> pd.DataFrame:
        value = 0.8 if low <= at <= high else 0.1
        return pd.DataFrame({"step": [8], "metric": ["accuracy"], "value": [value], "at": [at]})

    monkeypatch.setattr(protocol, "trained", trained)


@pytest.mark.parametrize(("side", "true", "step"), [(-1, -1.3, 0.25), (1, 0.7, 2.5 / 16)])
def test_bisection_finds_the_edge(
    monkeypatch: pytest.MonkeyPatch, side: int, true: float, step: float
) -> None:
    pretend(monkeypatch, -1.3, 0.7)
    last = protocol.measure(run(side=side)).iloc[-1]
    assert last["metric"] == "edge"
    assert abs(last["value"] - true) <= step / 2


def test_a_band_beyond_the_range_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, -9, 9)
    last = protocol.measure(run(side=1)).iloc[-1]
    assert (last["metric"], last["value"]) == ("beyond", protocol.UP)


def test_a_network_that_fails_at_he_has_no_band(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0.1, 0.2)
    tables = [protocol.measure(run(side=side)).assign(side=side) for side in (-1, 1)]
    table = pd.concat(tables).assign(arm="bn", depth=8, lr=0.1, seed=0)
    assert claims.bands(table)["width"].tolist() == [0.0]


@pytest.mark.parametrize("arm", ["none", "bn", *protocol.SKIP])
def test_the_scale_multiplies_all_weights_but_the_heads(arm: str) -> None:
    weights = []
    for scale in (1.0, 3.0):
        with reproducible(0):
            net = protocol.network(arm, 4, scale)
        weights.append([m.weight for m in net.modules() if isinstance(m, nn.Linear)])
    *hidden, head = [(u, v) for u, v in zip(*weights, strict=True)]
    for u, v in hidden:
        torch.testing.assert_close(3 * u, v)
    torch.testing.assert_close(*head)


def test_rate_times_scale_squared_is_training_at_he() -> None:
    """The arm with a factor behind its weights trains as the unscaled one does (epsilon aside)."""
    x, y = torch.randn(64, 196), torch.randint(10, (64,))
    losses = []
    for arm, scale in (("bn", 1.0), (protocol.SQUARED, 100.0)):
        with reproducible(0):
            net = protocol.network(arm, 4, scale)
        sgd = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(5):
            loss = nn.functional.cross_entropy(net(x), y)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


def test_scaled_leaves_the_head() -> None:
    net = mlp([8, 6, 6, 4], "none", init="he").double()
    before = [p.clone() for p in net.parameters()]
    signal.scaled(net, 0.5)
    factors = [(p / b).nanmean().item() for p, b in zip(net.parameters(), before, strict=True)]
    assert factors[0] == factors[2] == pytest.approx(0.5)
    assert factors[4] == pytest.approx(1.0)


def test_every_scale_gets_the_rate_that_was_chosen_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 196, generator=g), torch.randint(0, 10, (200,), generator=g)
    tiny = ImageData("noise", x, y, x, y)
    monkeypatch.setattr(maps, "prepared", lambda validation, factor: tiny)  # noqa: ARG005
    monkeypatch.setattr(maps, "STEPS", 10)
    tuned = {
        f"{a}/{d}/{e}": maps.RATES[i % 3]
        for a in maps.ARMS for d in maps.DEPTHS for i, e in enumerate(maps.EXPONENTS)
    }  # fmt: skip
    run = next(r for r in maps.runs([0], tuned) if (r.arm, r.depth) == ("skip-bn", 4))
    rows = maps.measure(run)
    rates = rows.groupby("scale")["lr"].unique()
    assert [r.tolist() for r in rates] == [[maps.RATES[i % 3]] for i in range(11)]
    every = maps.measure(maps.Run("tune", "bn", 2, "", 0)).assign(part="tune", arm="bn", depth=2)
    assert set(maps.choose(every.assign(seed=0))) == {f"bn/2/{e}" for e in maps.EXPONENTS}


def map_table() -> pd.DataFrame:
    """Plain trains at He's scale up to depth 16, with BN 32; with skips 4 of 11, with BN all."""
    rows = []
    for arm in maps.ARMS:
        for depth in maps.DEPTHS:
            for scale in maps.EXPONENTS:
                good = {
                    "none": scale == 0 and depth <= 16, "bn": scale == 0 and depth <= 32,
                    "skip-none": scale <= -1.5 or scale == -1, "skip-bn": True,
                }[arm]  # fmt: skip
                score = (0.83 if arm == "skip-bn" else 0.8) if good else 0.1
                rows += [(arm, depth, scale, s, 0.1, t, score) for s in range(5) for t in (8, 10)]
    columns = ["arm", "depth", "scale", "seed", "lr", "step", "value"]
    return pd.DataFrame(rows, columns=columns).assign(part="map", metric="accuracy")


def test_claims_on_the_map_count_cells_layers_and_points() -> None:
    found = map_claims.area(map_table()).groupby("stratum")["value"].first()
    assert found["plain"] == pytest.approx(100 / 66)
    assert found["skips"] == pytest.approx(100 * (1 - 4 / 11))
    ratios = np.exp(map_claims.deepest(map_table())["value"].to_numpy())
    assert ratios == pytest.approx(2.0)
    assert map_claims.rival(map_table())["value"].to_numpy() == pytest.approx(3.0)
    deeper = map_table()
    deeper.loc[(deeper["arm"] == "bn") & (deeper["scale"] == 0), "value"] = 0.9
    assert set(map_claims.deepest(deeper)["censored"]) == {"low"}
