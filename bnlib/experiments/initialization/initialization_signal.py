"""What one number in front of all hidden weights does to the signal at initialisation.

Parts ``plain`` and ``skip``: growth per layer or block without BN. Part ``eps``: the variance
behind layers of BN whose epsilon is comparable with what they normalise. Part ``free``: how much
outputs move with BN at epsilon 0. Part ``leap``: where one step of SGD takes the weights' scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.lab.data import prepared
from bnlib.lab.models import mlp
from bnlib.lab.residual import residual_mlp
from bnlib.lab.train import reproducible
from bnlib.layers import BatchNorm1d

SEEDS = range(10)
ROWS, WIDTH, LAYERS, EPS = 512, 512, 12, 1e-5
SCALES = (0.5, 1.0, 1.5)  # times He's
EDGE = math.sqrt(EPS / (1 - 1 / math.pi))  # scale at which a layer of BN neither shrinks nor holds
EPS_SCALES = (0.5, 0.75, 1.25, 2.0, 4.0)  # times the edge
FREE_SCALES = (10**-2.5, 10**2.5)
LEAP_SCALES, LEAP_DEPTH, RATE = (0.01, 1.0), 16, 0.3


@dataclass(frozen=True)
class Run:
    """One kind of network at one scale of its hidden weights."""

    part: str
    scale: float
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return every part at its scales."""
    parts = {
        "plain": SCALES,
        "skip": SCALES,
        "eps": EPS_SCALES,
        "free": FREE_SCALES,
        "leap": LEAP_SCALES,
    }
    return [Run(part, a, s) for s in seeds for part in parts for a in parts[part]]


def measure(run: Run) -> pd.DataFrame:
    """Push 512 training images through random networks in float64, in training mode."""
    data = prepared(factor=2)
    with reproducible(run.seed), torch.set_grad_enabled(run.part == "leap"):
        rows = torch.randperm(60_000)[:ROWS]
        x, y = data.x_train[rows].double(), data.y_train[rows]  # (512, 196), (512,)
        if run.part == "leap":
            nets = [leap(x[:128], y[:128], run.scale)]
        else:
            nets = [PARTS[run.part](x, run.scale) for _ in range(NETS[run.part])]
    found = np.exp(np.log(nets).mean(0))  # geometric mean over networks
    return pd.DataFrame({"layer": range(len(found)), "metric": "signal", "value": found})


def plain(x: Tensor, scale: float) -> list[float]:
    """Return the mean square of each hidden layer's pre-activations, no BN."""
    net = scaled(mlp([196, *[WIDTH] * LAYERS, 10], "none", "relu", "he"), scale)
    return [z.square().mean().item() for z in outputs(list(net)[:-1], x, nn.Linear)]


def skip(x: Tensor, scale: float) -> list[float]:
    """Return the mean square of the stream behind the stem and behind each block, no BN."""
    net = scaled(residual_mlp(LAYERS, WIDTH, 196), scale)
    return [z.square().mean().item() for z in outputs(list(net)[: LAYERS + 1], x, nn.Module)]


def by_eps(x: Tensor, scale: float) -> list[float]:
    """Return the variance over the batch behind each layer of BN."""
    net = scaled(mlp([196, *[WIDTH] * 3 * LAYERS, 10], "bn", "relu", "he"), scale * EDGE)
    return [y.var(0, correction=0).mean().item() for y in outputs(net, x, nn.BatchNorm1d)]


def free(x: Tensor, scale: float) -> list[float]:
    """Return how far an output moves, relative to the largest, without and with skips."""
    norm = partial(BatchNorm1d, eps=0.0)
    nets = (mlp([196, *[WIDTH] * LAYERS, 10], norm, "relu", "he"),
            residual_mlp(LAYERS, WIDTH, 196, norm=norm))  # fmt: skip
    moved = []
    for net in nets:
        before = net.double().train()(x)
        moved.append(((scaled(net, scale)(x) - before).abs().max() / before.abs().max()).item())
    return moved


def leap(x: Tensor, y: Tensor, scale: float) -> list[float]:
    """Return per hidden layer the length of its weights after one step, over He's length."""
    norm = partial(BatchNorm1d, eps=0.0)
    net = mlp([196, *[64] * LEAP_DEPTH, 10], norm, "relu", "he").double()
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)][:-1]
    lengths = [layer.weight.norm().item() for layer in layers]
    nn.functional.cross_entropy(scaled(net, scale)(x), y).backward()
    torch.optim.SGD(net.parameters(), RATE).step()
    return [m.weight.norm().item() / n for m, n in zip(layers, lengths, strict=True)]


def scaled(net: nn.Sequential, scale: float) -> nn.Sequential:
    """Multiply all linear weights but the head's, in place; the network in float64."""
    for layer in [m for m in net.modules() if isinstance(m, nn.Linear)][:-1]:
        layer.weight.data.mul_(scale)
    return net.double().train()


def outputs(net: Iterable[nn.Module], x: Tensor, kind: type[nn.Module]) -> Iterator[Tensor]:
    """Yield what comes out of each layer of a kind."""
    for layer in net:
        x = layer(x)
        if isinstance(layer, kind):
            yield x


NETS = {"plain": 4, "skip": 4, "eps": 1, "free": 1}
PARTS = {"plain": plain, "skip": skip, "eps": by_eps, "free": free}


def moved(table: pd.DataFrame) -> pd.DataFrame:
    """Return the largest relative change of an output, over networks and scales."""
    rows = table[table["part"] == "free"]
    return rows.groupby("seed")["value"].max().reset_index()


PROTOCOL = Experiment(
    name="initialization_signal",
    title="What the scale of the initial weights does to the signal, with BN, skips or neither",
    chapter="initialization",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=1,
    rounding={"signal": 1e-9},
)  # fmt: skip
