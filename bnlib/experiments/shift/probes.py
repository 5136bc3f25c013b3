"""How far the inputs of layers and their gradients move while the layers below are trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlib.lab.data import ImageData
from bnlib.lab.train import Probe


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
            sgd_step(moved, x, y, lr)
            for layer in _moving(moved):
                layer.advance()
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
    """Return a probe of accuracy with the noise of training, or BN's batch statistics, or both.

    Layers with a method ``advance`` (see `variants.DistributionNoise`) make the noise; it moves by
    one step from each part of the images to the next. Running statistics were collected under
    the noise and keep what moves, which the statistics of a batch subtract.

    Parameters
    ----------
    x, y : Tensor
        Images and classes.
    parts : int
        Number of parts that the images are split into.

    Returns
    -------
    Probe
        Metrics: ``noisy``, with noise and running statistics; ``noisy batch``, with noise and the
        statistics of each part; ``clean batch``, without noise and with the statistics of each
        part.
    """
    pairs = list(zip(x.chunk(parts), y.chunk(parts), strict=True))

    def accuracy(model: nn.Module) -> float:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            right = sum(int((model(part).argmax(1) == classes).sum()) for part, classes in pairs)
        return right / len(x)

    def probe(model: nn.Module, step: int) -> dict[str, float]:  # noqa: ARG001
        found = {}
        for name in ("noisy", "noisy batch", "clean batch"):
            copied = copy.deepcopy(model).eval()
            training = _moving(copied) if "noisy" in name else []
            if "batch" in name:
                training += [m for m in copied.modules() if isinstance(m, _BatchNorm)]
            for layer in training:
                layer.train()
            found[name] = accuracy(copied)
        return found

    return probe


def sgd_step(
    model: nn.Module, x: Tensor, y: Tensor, lr: float, factors: Mapping[str, float] | None = None
) -> float:
    """Take one SGD step on the mean cross-entropy of a batch, and return it as it was before.

    Parameters
    ----------
    model : nn.Module
        Maps ``x`` to logits; changed in place.
    x, y : Tensor
        Inputs and classes.
    lr : float
        Learning rate.
    factors : mapping, optional
        By a parameter's name, what its rate is multiplied with.
    """
    named, factors = dict(model.named_parameters()), factors or {}
    loss = nn.functional.cross_entropy(model(x), y)
    gradients = torch.autograd.grad(loss, list(named.values()))
    with torch.no_grad():
        for (name, p), g in zip(named.items(), gradients, strict=True):
            p.sub_(lr * factors.get(name, 1.0) * g)
    return loss.item()


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
