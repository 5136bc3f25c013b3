"""The weights that feed BN, whose length the function does not see, and what steps do to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bnlib.lab.data import ImageData


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


def lengths(model: nn.Sequential) -> list[Tensor]:
    """Return the length of each unit's `scale_invariant` weights, per layer, shape (units, 1)."""
    return [w.detach().norm(dim=1, keepdim=True) for w in scale_invariant(model)]


def rescaling(model: nn.Sequential, start: Sequence[Tensor], rate: float) -> dict[str, float]:
    """Return what the lengths of a model's invariant weights have made of its learning rate.

    Parameters
    ----------
    model : nn.Sequential
        A network with `nn.BatchNorm1d`.
    start : sequence of Tensor
        The `lengths` before training.
    rate : float
        Learning rate of the invariant weights.

    Returns
    -------
    dict
        ``effective rate``: the rate over the squared length, and ``growth``: the squared length
        over that at the start, both as geometric means over the units; ``epsilon share``: the
        mean share of epsilon in running variance plus epsilon, in the layer where it is largest.
    """
    now, then = torch.cat(lengths(model)).square(), torch.cat(list(start)).square()
    shares = [
        (m.eps / (m.running_var + m.eps)).mean().item()
        for m in model.children()
        if isinstance(m, nn.BatchNorm1d) and m.running_var is not None
    ]
    return {
        "effective rate": (rate / now).log().mean().exp().item(),
        "growth": (now / then).log().mean().exp().item(),
        "epsilon share": max(shares),
    }
