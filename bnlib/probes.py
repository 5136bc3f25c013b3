"""Measurements on a model while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bnlib.data import ImageData
from bnlib.train import Probe


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
