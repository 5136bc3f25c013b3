"""What the probes report of a training, against a calculation of its own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from bnlib.experiments.invariance.weights import (
    Update,
    lengths,
    parameter_groups,
    rescaling,
    scale_invariant,
    updates,
)
from bnlib.experiments.shift.probes import sgd_step
from bnlib.lab.data import ImageData
from bnlib.lab.models import convnet, mlp


def toy() -> ImageData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    y = (x[:, 0] > 0).long()
    return ImageData("toy", x, y, x, y)


def test_scale_invariant_weights_are_those_that_leave_the_function_alone() -> None:
    torch.manual_seed(0)
    net = mlp([6, 6, 6, 2], lambda width: nn.BatchNorm1d(width, eps=1e-30)).double()
    x = toy().x_train
    before = net(x).detach()
    found = scale_invariant(net)
    for p in net.parameters():
        with torch.no_grad():
            p.mul_(3.0).add_(0.0 if p.ndim > 1 else 1.0)
            same = torch.allclose(net(x), before, atol=1e-9)
            p.sub_(0.0 if p.ndim > 1 else 1.0).div_(3.0)
        if p.ndim > 1:
            assert same == any(p is w for w in found)


def test_convolutions_in_front_of_bn_count_and_other_normalisers_do_not() -> None:
    assert [w.ndim for w in scale_invariant(convnet([4, 8], norm="bn"))] == [4, 4]
    assert scale_invariant(mlp([6, 6, 2], "ln")) == []
    assert scale_invariant(mlp([6, 6, 2])) == []


def test_groups_hold_each_parameter_once_with_its_decay() -> None:
    net = mlp([6, 5, 2], "bn")
    first, rest = parameter_groups(net, 0.1, 0.2)
    assert [first["weight_decay"], rest["weight_decay"]] == [0.1, 0.2]
    assert first["params"] == scale_invariant(net)
    numbers = [id(p) for p in [*first["params"], *rest["params"]]]
    assert sorted(numbers) == sorted(id(p) for p in net.parameters())


def test_updates_are_the_steps_that_sgd_makes() -> None:
    torch.manual_seed(0)
    net = mlp([6, 6, 6, 2], "bn").double()
    sgd = torch.optim.SGD(parameter_groups(net, 0.1), 0.5)
    found = list(updates(net, toy(), sgd, steps=5, batch_size=10, seed=3))
    assert [u.step for u in found] == list(range(5))
    for u, following in zip(found, [*found[1:], None], strict=True):
        assert u.before.shape == (12, 6)
        torch.testing.assert_close(u.after, u.before - 0.5 * (u.gradient + 0.1 * u.before))
        if following is not None:
            assert torch.equal(u.after, following.before)


def test_updates_see_a_rate_that_is_changed_between_two_steps() -> None:
    net = mlp([6, 6, 2], "bn").double()
    sgd = torch.optim.SGD(parameter_groups(net), 0.5)
    for u in updates(net, toy(), sgd, steps=3, batch_size=10, seed=0):
        assert bool((u.after == u.before).all()) == (u.step > 0)
        sgd.param_groups[0]["lr"] = 0.0


@pytest.mark.parametrize("angle", [1e-7, 0.01, 1.0, math.pi / 2, 3.0])
def test_angle_of_a_turn_whatever_the_lengths(angle: float) -> None:
    before = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    after = 0.2 * torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    found = Update(0, 0.0, before, after, before).angle()
    torch.testing.assert_close(found.item(), angle, rtol=1e-8, atol=0.0)


def test_a_step_is_that_of_the_optimiser() -> None:
    torch.manual_seed(0)
    net, data = mlp([6, 5, 2], "bn").double(), toy()
    groups = [
        {"params": [p], "lr": 0.3 if name == "0.weight" else 0.1}
        for name, p in copy.deepcopy(net).named_parameters()
    ]
    other = copy.deepcopy(net)
    for group, p in zip(groups, other.parameters(), strict=True):
        group["params"] = [p]
    loss = nn.functional.cross_entropy(other(data.x_train), data.y_train)
    loss.backward()
    torch.optim.SGD(groups, 0.1).step()
    assert sgd_step(net, data.x_train, data.y_train, 0.1, {"0.weight": 3.0}) == loss.item()
    torch.testing.assert_close(list(net.parameters()), list(other.parameters()))


def test_rescaling_tells_length_rate_and_epsilon_apart() -> None:
    torch.manual_seed(0)
    net = mlp([6, 5, 4, 2], "bn").double()
    start = lengths(net)
    assert [tuple(w.shape) for w in start] == [(5, 1), (4, 1)]
    first = rescaling(net, start, 0.1)
    with torch.no_grad():
        for w in scale_invariant(net):
            w.mul_(3.0)
    found = rescaling(net, start, 0.1)
    assert found["growth"] == pytest.approx(9.0)
    assert found["effective rate"] == pytest.approx(first["effective rate"] / 9)
    assert found["epsilon share"] == pytest.approx(1e-5 / (1 + 1e-5))
    norms = [m for m in net if isinstance(m, nn.BatchNorm1d)]
    assert norms[1].running_var is not None
    norms[1].running_var.fill_(3e-5)
    assert rescaling(net, start, 0.1)["epsilon share"] == pytest.approx(0.25)
