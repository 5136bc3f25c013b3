"""Measurements on a model while it trains."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlib.data import ImageData
from bnlib.train import Probe, accuracy


def sigmoid_inputs(x: Tensor) -> Probe:
    """Return a probe of what enters the last sigmoid layer of a sequential model.

    Parameters
    ----------
    x : Tensor
        Inputs that the model is looked at with, shape (rows, features).

    Returns
    -------
    Probe
        Metrics: ``p15``, ``p50``, ``p85``, percentiles over the rows at the layer's first unit;
        ``width``, the distance from the 15th to the 85th, averaged over all units; and, from
        the second record on, ``drift``: how far each unit's median moved since the record
        before, averaged likewise.
    """
    ranks = torch.tensor([0.15, 0.50, 0.85])
    before: list[Tensor] = []

    def probe(model: nn.Module, step: int) -> dict[str, float]:  # noqa: ARG001
        layers = list(model.children())
        last = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Sigmoid))
        p = torch.quantile(nn.Sequential(*layers[:last])(x), ranks, dim=0)  # (3, units)
        found = dict(zip(("p15", "p50", "p85"), p[:, 0].tolist(), strict=True))
        found["width"] = (p[2] - p[0]).mean().item()
        if before:
            found["drift"] = (p[1] - before[-1]).abs().mean().item()
        before[:] = [p[1]]
        return found

    return probe


@dataclass(frozen=True)
class Update:
    """What one step of training did to some weights; one row of each tensor is one unit.

    Attributes
    ----------
    step : int
        Number of the step, from 0.
    loss : float
        Loss of the batch before the step.
    before, after, gradient : Tensor
        Weights before and after the step, and the loss's gradient, shape (units, fan-in).
    """

    step: int
    loss: float
    before: Tensor
    after: Tensor
    gradient: Tensor

    def angle(self) -> Tensor:
        """Return by how much each unit's weight vector turned, in radians, shape (units,).

        Source: Kahan's formula, accurate for small angles.
        """
        old, new = (nn.functional.normalize(w, dim=1) for w in (self.before, self.after))
        return 2 * torch.atan2((old - new).norm(dim=1), (old + new).norm(dim=1))


def scale_invariant(model: nn.Sequential) -> list[Tensor]:
    """Return the weights of linear and convolutional layers that feed a BN layer directly.

    Without epsilon each output unit's weight vector may be multiplied by any positive number
    and the network, in training mode, computes the same function.
    """
    norms = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
    return [
        layer.weight
        for layer, following in pairwise(model.children())
        if isinstance(layer, nn.Linear | nn.Conv2d) and isinstance(following, norms)
    ]


def parameter_groups(
    model: nn.Sequential, decay: float = 0.0, rest: float = 0.0
) -> list[dict[str, Any]]:
    """Return two groups for an optimiser: the `scale_invariant` weights and all the rest.

    Parameters
    ----------
    model : nn.Sequential
        The network.
    decay, rest : float
        Weight decay of the first group and of the second.
    """
    weights = scale_invariant(model)
    others = [p for p in model.parameters() if all(p is not w for w in weights)]
    return [
        {"params": weights, "weight_decay": decay},
        {"params": others, "weight_decay": rest},
    ]


def updates(
    model: nn.Sequential,
    data: ImageData,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    batch_size: int,
    seed: int,
) -> Iterator[Update]:
    """Train by cross-entropy and yield after each step what it did to the invariant weights.

    Parameters
    ----------
    model : nn.Sequential
        Maps a batch to logits; trained in place. Its `scale_invariant` weights are followed
        and must have one fan-in.
    data : ImageData
        Each batch is drawn anew from its training images.
    optimizer : torch.optim.Optimizer
        Makes the steps; its settings may be changed between two of them.
    steps, batch_size, seed : int
        Number of updates, images per update, and the seed of the draws.
    """
    weights = scale_invariant(model)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rows = torch.randint(len(data.x_train), (batch_size,), generator=generator)
        loss = nn.functional.cross_entropy(model(data.x_train[rows]), data.y_train[rows])
        optimizer.zero_grad()
        loss.backward()
        before = torch.cat([w.detach().flatten(1) for w in weights])
        gradient = torch.cat([w.grad.flatten(1) for w in weights if w.grad is not None])
        optimizer.step()
        after = torch.cat([w.detach().flatten(1) for w in weights])
        yield Update(step, loss.item(), before, after, gradient)


def distribution_shift(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Return how far the inputs of a layer have moved, in units of their spread.

    Parameters
    ----------
    before, after : Tensor
        The inputs for the same rows at two moments, shape (rows, units).

    Returns
    -------
    tuple of float
        The mean over units of the mean's change, then of the Wasserstein-1 distance (the change
        of a percentile, averaged over all percentiles); both over the mean standard deviation.
    """
    spread = (before.std(0) + after.std(0)).mean() / 2
    moved = (after.mean(0) - before.mean(0)).abs().mean()
    transport = (after.sort(0).values - before.sort(0).values).abs().mean()
    return (moved / spread).item(), (transport / spread).item()


def gradient_shift(
    model: nn.Sequential, moved: nn.Sequential, x: Tensor, y: Tensor, seed: int = 0
) -> list[tuple[float, float, float]]:
    """Compare each layer's gradient before and after the layers below it have been updated.

    Parameters
    ----------
    model, moved : nn.Sequential
        A network and a copy of it in which all layers are updated. Neither may hold a random
        state that a forward pass changes.
    x, y : Tensor
        One batch: inputs and classes.
    seed : int
        Seeded before every pass, so that both passes draw the same random numbers.

    Returns
    -------
    list
        For each linear layer but the first: the norm of the difference of its weight's gradients
        over the norm of the first, their cosine, and the norm of the difference itself. Source:
        Santurkar et al. (2018), definition 2.1; the division is ours.
    """
    old, new = list(model), list(moved)

    def gradient(layers: list[nn.Module], weight: Tensor) -> Tensor:
        torch.manual_seed(seed)
        loss = nn.functional.cross_entropy(nn.Sequential(*layers)(x), y)
        return torch.autograd.grad(loss, weight)[0]

    found = []
    for k in _linear(model)[1:]:
        weight = old[k].get_parameter("weight")
        g, h = gradient(old, weight), gradient(new[:k] + old[k:], weight)
        change, length = (h - g).norm(), g.norm()
        cosine = (g * h).sum() / (length * h.norm())
        found.append(((change / length).item(), cosine.item(), change.item()))
    return found


def covariate_shift(data: ImageData, lr: float, at: Sequence[int], batch_size: int = 60) -> Probe:
    """Return a probe of internal covariate shift by its two definitions, in training mode.

    At each step of ``at`` a copy of the model takes one SGD step more, on a batch of its own, and
    the two are compared. Layers with a method ``advance`` (see `variants.DistributionNoise`) are
    held in their state, the copy's moved by one step.

    Parameters
    ----------
    data : ImageData
        Distributions are taken over its first 500 test images, batches from its training images.
    lr : float
        Rate of the step, the one of the training.
    at : sequence of int
        Steps at which to measure; the probe is silent at all others.
    batch_size : int
        Images in the batch of the step.

    Returns
    -------
    Probe
        Means over all linear layers but the first. Of their inputs over one step: ``mean`` and
        ``w1`` (see `distribution_shift`); ``window``, the w1 since the record before. Of their
        gradients over one step: ``gradient``, ``cosine`` and ``raw`` (see `gradient_shift`).
    """
    past: list[list[Tensor]] = []

    def probe(model: nn.Module, step: int) -> dict[str, float]:
        if step not in at:
            return {}
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            rows = torch.randint(len(data.x_train), (batch_size,))
            seed = int(torch.randint(2**31, ()))
            x, y = data.x_train[rows], data.y_train[rows]
            held, moved = _held(model), _held(model)
            _step(moved, x, y, lr)
            gradients = gradient_shift(held, moved, x, y, seed)
            before, after = (_inputs(m, data.x_test[:500], seed) for m in (held, moved))
        names = ("mean", "w1", "gradient", "cosine", "raw")
        layers = [
            distribution_shift(b, a) + g
            for b, a, g in zip(before, after, gradients, strict=True)
        ]  # fmt: skip
        found = dict(zip(names, torch.tensor(layers).mean(0).tolist(), strict=True))
        if past:
            windows = [distribution_shift(*pair)[1] for pair in zip(past[-1], before, strict=True)]
            found["window"] = sum(windows) / len(windows)
        past[:] = [before]
        return found

    return probe


def noisy_accuracy(x: Tensor, y: Tensor, parts: int = 4) -> Probe:
    """Return a probe of accuracy with noise as in training and all else as in evaluation.

    Layers with a method ``advance`` (see `variants.DistributionNoise`) stay in training mode and
    move by one step from each part of the images to the next.

    Parameters
    ----------
    x, y : Tensor
        Images and classes.
    parts : int
        Number of parts that the images are split into.

    Returns
    -------
    Probe
        Metric: ``noisy``.
    """

    def probe(model: nn.Module, step: int) -> dict[str, float]:  # noqa: ARG001
        noisy = copy.deepcopy(model)
        for layer in _moving(noisy):
            layer.train()
        right = 0
        with torch.random.fork_rng(devices=[]):
            for inputs, classes in zip(x.chunk(parts), y.chunk(parts), strict=True):
                right += int((noisy(inputs).argmax(1) == classes).sum())
        return {"noisy": right / len(x)}

    return probe


def _linear(model: nn.Sequential) -> list[int]:
    return [k for k, layer in enumerate(model) if isinstance(layer, nn.Linear)]


def _held(model: nn.Module) -> nn.Sequential:
    """Return a copy in training mode whose moving layers stand still."""
    copied = copy.deepcopy(model).train()
    assert isinstance(copied, nn.Sequential)
    for layer in _moving(copied):
        layer.moving = False
    return copied


def _moving(model: nn.Module) -> list[Any]:
    """Return the layers whose random state moves, such as `variants.DistributionNoise`."""
    return [layer for layer in model.modules() if hasattr(layer, "advance")]


def _step(model: nn.Sequential, x: Tensor, y: Tensor, lr: float) -> None:
    """Take one SGD step, and move the layers that move by one step."""
    parameters = list(model.parameters())
    loss = nn.functional.cross_entropy(model(x), y)
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(lr * g)
    for layer in _moving(model):
        layer.advance()


@torch.no_grad()
def _inputs(model: nn.Sequential, x: Tensor, seed: int) -> list[Tensor]:
    """Return what enters each linear layer but the first, shape (rows, units) each."""
    torch.manual_seed(seed)
    found = []
    for layer in model:
        if isinstance(layer, nn.Linear):
            found.append(x)
        x = layer(x)
    return found[1:]


def channel_noise(x: Tensor, drawn: int = 32, draws: int = 5_000) -> Probe:
    """Return a probe of how noisy the batch means of a convolutional model's BN layers are.

    Parameters
    ----------
    x : Tensor
        The population, shape (images, C, H, W): it passes a copy of the model in training
        mode as one batch, and random batches are drawn from it with replacement.
    drawn, draws : int
        Images per random batch, and number of batches.

    Returns
    -------
    Probe
        Per BN layer k from 1 on, with m = drawn * H * W values per channel, averaged over
        channels: ``share k``, the logarithm of the effective number of values, variance /
        Var(batch mean), over m; and ``kish k``, the same share, not its logarithm, times the
        design effect 1 + (H W - 1) rho of Kish (1965), rho the mean correlation of two
        positions of an image: 1, up to sampling.
    """

    def probe(model: nn.Module, step: int) -> dict[str, float]:  # noqa: ARG001
        inputs: list[Tensor] = []
        model = copy.deepcopy(model).train()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        model(x)
        found = {}
        for k, values in enumerate(inputs, 1):
            flat = values.flatten(2).double()  # (images, channels, positions)
            positions, var = flat.shape[2], flat.var((0, 2), correction=0)
            images = flat.mean(2) - flat.mean((0, 2))
            rho = (positions * images.square().mean(0) / var - 1) / (positions - 1)
            rows = torch.randint(len(x), (draws, drawn))
            noise = images[rows].mean(1).square().mean(0)
            share = var / (noise * drawn * positions)
            found[f"share {k}"] = share.log().mean().item()
            found[f"kish {k}"] = (share * (1 + (positions - 1) * rho)).mean().item()
        return found

    return probe


def recalibrated(data: ImageData, since: int = 0) -> Probe:
    """Return a probe of the training loss, and of accuracy with recalibrated statistics.

    Parameters
    ----------
    data : ImageData
        Training images to recalibrate with, test images to score.
    since : int
        First step that is looked at.

    Returns
    -------
    Probe
        ``train loss``, of all training images in evaluation mode, and ``recalibrated``, the
        test accuracy of a copy whose BN layers hold mean and variance of the training images,
        each layer's taken with the layers below already recalibrated and dropout off.
    """

    def recalibrate(layer: _BatchNorm, args: tuple[Tensor]) -> None:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        axes = (0, *range(2, args[0].dim()))
        layer.running_mean.copy_(args[0].mean(axes))
        layer.running_var.copy_(args[0].var(axes))

    def probe(model: nn.Module, step: int) -> dict[str, float]:
        if step < since:
            return {}
        loss = nn.functional.cross_entropy(model(data.x_train), data.y_train).item()
        model = copy.deepcopy(model)
        layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
        hooks = [layer.register_forward_pre_hook(recalibrate) for layer in layers]
        model(data.x_train)
        for hook in hooks:
            hook.remove()
        score = accuracy(model, data.x_test, data.y_test)
        return {"train loss": loss, "recalibrated": score}

    return probe
