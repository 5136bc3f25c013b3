"""Models and the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import pandas as pd
import pytest
import torch
from protocols import Run, images, measure
from torch import nn

from bnlib.lab.models import convnet, initialize, mlp, resnet
from bnlib.lab.residual import residual_mlp
from bnlib.lab.train import accuracy, reproducible, schedule, train


def by_hand(steps: int, lr: float) -> list[float]:
    """Write the same training out with autograd alone: the oracle of the loop."""
    data = images()
    with reproducible(3):
        model = mlp([6, 16, 2], "bn", "relu", "he")
    generator = torch.Generator().manual_seed(3)
    losses: list[float] = []
    while len(losses) < steps:
        order = torch.randperm(100, generator=generator)
        for start in range(0, 100, 10):
            rows = order[start : start + 10]
            loss = nn.functional.cross_entropy(model(data.x_train[rows]), data.y_train[rows])
            grads = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for parameter, g in zip(model.parameters(), grads, strict=True):
                    parameter.sub_(lr * g)
            losses.append(loss.item())
    return losses[:steps]


def test_loop_is_plain_sgd() -> None:
    found = measure(Run("toy", 3))
    losses = found[found["metric"] == "loss"]
    assert losses["step"].tolist() == list(range(1, 31))
    assert losses["value"].tolist() == pytest.approx(by_hand(30, 0.1), rel=1e-5)


def test_same_seed_same_bits_other_seed_other_bits() -> None:
    a, b, c = measure(Run("toy", 1)), measure(Run("toy", 1)), measure(Run("toy", 2))
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert not a["value"].equals(c["value"])


def test_reproducible_puts_everything_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    with reproducible(1):
        torch.rand(100)
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_divergence_is_a_result_not_a_crash() -> None:
    with reproducible(0):
        model = mlp([6, 16, 2], "none", "relu", 10.0)
        found = train(
            model, images(), steps=500, batch_size=10, lr=1e30, seed=0, evaluate_at=[100, 500]
        )
    last = found.iloc[-1]
    assert (last["metric"], last["value"]) == ("diverged", 1.0)
    assert last["step"] < 500


def test_stop_at_ends_with_the_evaluation_that_reached_it() -> None:
    with reproducible(0):
        model = mlp([6, 16, 2], "bn", "relu", "he")
        found = train(
            model, images(), steps=500, batch_size=10, lr=0.1, seed=0,
            evaluate_at=range(5, 501, 5), stop_at=0.9,
        )  # fmt: skip
    scores = found[found["metric"] == "accuracy"]["value"].tolist()
    assert scores[-1] >= 0.9
    assert all(s < 0.9 for s in scores[:-1])


def test_evaluation_leaves_statistics_and_mode_alone() -> None:
    model = mlp([6, 16, 2], "bn")
    model(images().x_train)
    before = [b.clone() for b in model.buffers()]
    accuracy(model, images().x_test, images().y_test)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))


def test_accuracy_counts_nan_as_wrong() -> None:
    class Nan(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 2), float("nan"))

    assert accuracy(Nan(), images().x_test, torch.zeros(100, dtype=torch.long)) == 0.0


def test_schedule() -> None:
    assert schedule(100, 10, 2.0) == [10, 20, 40, 80, 100]
    assert schedule(10, 10, 2.0) == [10]
    with pytest.raises(ValueError, match="ratio"):
        schedule(100, 10, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"batch_size": 0}, "batch_size"), ({"batch_size": 101}, "batch_size"),
     ({"optimizer": "lion"}, "optimizer")],
)  # fmt: skip
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    options: dict[str, object] = {"steps": 1, "batch_size": 10, "lr": 0.1, "seed": 0, **arguments}
    with pytest.raises(ValueError, match=message):
        train(mlp([6, 2]), images(), **options)


@pytest.mark.parametrize("norm", ["none", "bn", "ln", "gn", nn.BatchNorm2d])
def test_networks_map_images_to_logits(norm: object) -> None:
    x = torch.randn(4, 1, 12, 12)
    assert convnet([8, 8, 16], norm=norm)(x).shape == (4, 10)
    assert resnet((1, 1), 8, norm=norm)(x).shape == (4, 10)


def test_norm_argument_chooses_the_layers() -> None:
    kinds = [type(m) for m in mlp([3, 4, 4, 2], "bn", "sigmoid")]
    block = [nn.Linear, nn.BatchNorm1d, nn.Sigmoid]
    assert kinds == [*block, *block, nn.Linear]
    assert isinstance(convnet([8], norm="gn")[1], nn.GroupNorm)


def test_inits_have_the_declared_spread() -> None:
    torch.manual_seed(0)
    weight = mlp([400, 600, 2], init=0.3)[0].weight
    assert float(weight.detach().std()) == pytest.approx(0.3, rel=0.02)
    weight = mlp([400, 600, 2], init="he")[0].weight
    assert float(weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    weight = mlp([400, 600, 2], init="xavier")[0].weight
    assert float(weight.detach().std()) == pytest.approx((2 / 1000) ** 0.5, rel=0.02)
    for bad in ("glorot", -1.0, float("nan")):
        with pytest.raises(ValueError, match="init must be"):
            initialize(nn.Linear(2, 2), bad)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mlp([3]),
        lambda: convnet([]),
        lambda: mlp([3, 3, 2], "batch"),
        lambda: mlp([3, 3, 2], activation="x"),
    ],
)
def test_bad_networks_are_named(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"needs|must be"):
        call()


def residual_by_hand(net: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Write a plain residual network without normaliser out with matrices."""
    stem, *blocks, _, _, head = net
    h = x @ stem.weight.T + stem.bias
    for block in blocks:
        y = h
        for linear in (m for m in block.branch if isinstance(m, nn.Linear)):
            y = y.clamp(min=0) @ linear.weight.T + linear.bias
        h = h + (y if block.scale is None else block.scale * y)
    return h.clamp(min=0) @ head.weight.T + head.bias


@pytest.mark.parametrize("branch", ["plain", "skipinit"])
def test_residual_mlp_is_what_it_says(branch: Literal["plain", "skipinit"]) -> None:
    with reproducible(0):
        net = residual_mlp(3, 8, 5, 4, branch=branch)
        if branch == "skipinit":
            for block in net[1:4]:
                assert block.scale.item() == 0
                nn.init.constant_(block.scale, 0.7)
        x = torch.randn(6, 5)
        torch.testing.assert_close(net(x), residual_by_hand(net, x))


@pytest.mark.parametrize("branch", ["skipinit", "fixup"])
def test_a_tamed_branch_starts_as_the_identity(branch: Literal["skipinit", "fixup"]) -> None:
    with reproducible(0):
        net, x = residual_mlp(5, 8, 5, 4, branch=branch), torch.randn(6, 5)
        stem = net[0](x)
        torch.testing.assert_close(net[1:6](stem), stem)


def test_fixup_scales_the_first_layer_of_a_branch() -> None:
    with reproducible(0):
        net = residual_mlp(16, 400, 5, 4, branch="fixup")
        stds = [block.branch[3].weight.std().item() for block in net[1:17]]
        assert sum(stds) / 16 == pytest.approx(math.sqrt(2 / 400) / math.sqrt(16), rel=0.01)
        assert not net[-1].weight.any()
        loss = nn.functional.cross_entropy(net(torch.randn(8, 5)), torch.arange(8) % 4)
        assert loss.item() == pytest.approx(math.log(4))


def test_residual_mlp_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="branch must be one of"):
        residual_mlp(2, branch="none")
    with pytest.raises(ValueError, match="takes the place of a normaliser"):
        residual_mlp(2, norm="bn", branch="fixup")
