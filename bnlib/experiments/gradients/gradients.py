"""Growth of the gradient in deep random networks: which part of BN causes it, and how much.

Each of `NETS` is a network at initialisation. Gaussian noise enters at the top as the gradient,
and its size is measured at each layer on the way down, against the value at infinite width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.gradients import meanfield
from bnlib.experiments.gradients.randomnet import Net, propagate
from bnlib.lab.train import reproducible

SEEDS, DEPTH, WIDTH = range(10), 50, 800
BATCHES, LINEAR_BATCHES = (8, 16, 64), (6, 12)
WIDE = 10.0  # weights of std 10 / sqrt(width) neither shrink nor grow a sigmoid net's gradient
NETS = {
    "none": Net("none"),
    "mean": Net("mean", gain=2 / meanfield.RELU_SHARE),  # the gain that keeps the variance
    "rms": Net("rms"),
    "std": Net("std"),
    "bn": Net("bn"),
    **{f"bn {b}": Net("bn", batch=b) for b in BATCHES},
    **{f"linear {b}": Net("bn", "linear", batch=b) for b in LINEAR_BATCHES},
    "tanh bn": Net("bn", "tanh"),
    "sigmoid bn": Net("bn", "sigmoid"),
    "sigmoid Xavier": Net("none", "sigmoid", 1.0),
    "sigmoid wide": Net("none", "sigmoid", WIDE**2),
    "residual none": Net("none", residual=True),
    "residual bn": Net("bn", residual=True),
}


@dataclass(frozen=True)
class Run:
    """One random network: which of `NETS`, and its seed."""

    arm: str
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all networks on all seeds."""
    return [Run(arm, seed) for seed in seeds for arm in NETS]


def measure(run: Run) -> pd.DataFrame:
    """Return the root mean square of a random gradient at the input of each layer."""
    net = NETS[run.arm]
    with reproducible(run.seed):
        inputs = propagate(net, torch.randn(net.batch, WIDTH), DEPTH)
        grads = torch.autograd.grad(inputs[-1], inputs, torch.randn_like(inputs[-1]))
    size = [g.double().square().mean().sqrt().item() for g in grads]
    return pd.DataFrame({"step": range(DEPTH + 1), "metric": "gradient", "value": size})


PROTOCOL = Experiment(
    name="gradients",
    title="Growth of the gradient per layer in deep random networks, with parts of BN",
    chapter="gradients",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=0.9,
    drifts_from=0,  # depth amplifies rounding errors as training does
)  # fmt: skip
