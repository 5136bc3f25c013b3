"""Networks trained side by side against the same networks trained one by one."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch import nn

from bnlib.lab.data import ImageData
from bnlib.lab.ensemble import accuracies, stack, train_rates
from bnlib.lab.models import mlp
from bnlib.lab.residual import residual_mlp
from bnlib.lab.train import accuracy, reproducible, train

RATES = (0.01, 0.1, 1.0)


def images() -> ImageData:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    x = torch.randn(300, 6, generator=g, dtype=torch.float64) + 2.0 * nn.functional.one_hot(y, 6)
    return ImageData("toy", x[:200], y[:200], x[200:], y[200:])


def network(name: str) -> nn.Module:
    with reproducible(1):
        if name == "skipinit":
            net: nn.Module = residual_mlp(2, 8, 6, 3, branch="skipinit")
        elif name == "residual":
            net = residual_mlp(2, 8, 6, 3, norm="bn")
        else:
            net = mlp([6, 8, 8, 3], name, init="he")
        return net.double()


@pytest.mark.parametrize("name", ["none", "bn", "residual", "skipinit"])
def test_side_by_side_is_one_by_one(name: str) -> None:
    at = (1, 10, 20)
    kept = network(name)
    together = train_rates(
        kept, images(), rates=RATES, steps=20, batch_size=30, seed=3, evaluate_at=at
    )
    torch.testing.assert_close(kept.state_dict(), network(name).state_dict())  # left as it was
    for rate in RATES:
        alone = train(
            network(name), images(), steps=20, batch_size=30, lr=rate, seed=3,
            evaluate_at=at, losses_at=at,
        )  # fmt: skip
        one = together[together["lr"] == rate].drop(columns="lr")
        assert len(one) == 2 * len(at)
        pd.testing.assert_frame_equal(
            one.reset_index(drop=True), alone.reset_index(drop=True), atol=1e-12, rtol=1e-10
        )


def test_scaled_copies_are_scaled_networks() -> None:
    scales, at = (0.1, 1.0, 5.0), (10, 20)
    together = train_rates(
        network("bn"), images(), rates=[0.1] * 3, scales=scales, steps=20, batch_size=30, seed=3,
        evaluate_at=at,
    )  # fmt: skip
    for scale in scales:
        net = network("bn")
        for layer in [m for m in net.modules() if isinstance(m, nn.Linear)][:-1]:
            layer.weight.data.mul_(scale)
        alone = train(
            net, images(), steps=20, batch_size=30, lr=0.1, seed=3, evaluate_at=at, losses_at=at
        )
        one = together[together["scale"] == scale].drop(columns=["lr", "scale"])
        pd.testing.assert_frame_equal(
            one.reset_index(drop=True), alone.reset_index(drop=True), atol=1e-12, rtol=1e-10
        )


def test_outputs_of_the_copies_are_those_of_the_network() -> None:
    net, x = network("bn"), images().x_test
    for mode in (True, False):
        net.train(mode)
        copies = stack(net, 2).train(mode)
        for y in copies(x.expand(2, -1, -1)):
            torch.testing.assert_close(y, net(x))
    scores = accuracies(stack(net, 2), x, images().y_test, 2)
    assert scores == pytest.approx([accuracy(net, x, images().y_test)] * 2)


def test_a_lost_copy_is_recorded_once_and_takes_no_other_with_it() -> None:
    rates = (0.1, 1e300)
    found = train_rates(
        network("none"), images(), rates=rates, steps=10, batch_size=30, seed=0,
        evaluate_at=range(1, 11),
    )  # fmt: skip
    kept, gone = (found[found["lr"] == rate] for rate in rates)
    assert (kept["metric"] == "accuracy").sum() == 10
    assert all(map(math.isfinite, kept["value"]))
    assert (gone["metric"] == "diverged").sum() == 1
    assert gone["metric"].iloc[-1] == "diverged"


def test_what_cannot_be_stacked_is_refused() -> None:
    with pytest.raises(TypeError, match="LayerNorm has a parameter that cannot be stacked"):
        stack(mlp([6, 8, 3], "ln"), 2)


def test_held_parameters_have_one_rate_in_all_copies() -> None:
    net, at = network("bn"), (1, 10)
    held = {name: 0.1 for name, _ in net.named_parameters()}
    found = train_rates(
        net, images(), rates=RATES, steps=10, batch_size=30, seed=3, evaluate_at=at, held=held
    )
    # One batched product need not round alike for all of its copies.
    values = found.groupby(["step", "metric"])["value"]
    assert len(values) == 2 * len(at)
    assert (values.max() - values.min()).max() < 1e-12
    some = {name: rate for name, rate in held.items() if name != "0.weight"}
    found = train_rates(
        net, images(), rates=RATES, steps=10, batch_size=30, seed=3, evaluate_at=at, held=some
    )
    losses = found[(found["step"] == 10) & (found["metric"] == "loss")]["value"]
    assert losses.sort_values().diff().min() > 1e-3
