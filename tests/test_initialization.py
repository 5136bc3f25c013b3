"""The search for the band of initial scales: its bisection, its networks, its rates."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn

from bnlib.experiments import initialization as protocol
from bnlib.experiments import initialization_signal as signal
from bnlib.experiments.claims import initialization as claims
from bnlib.models import mlp
from bnlib.train import reproducible


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
