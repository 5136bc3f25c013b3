"""What sets the largest learning rate: curvature at the start, the head, or the normalised weights.

Part ``together`` trains networks at many rates, the same for all parameters, beside the curvature
before training. Part ``split`` raises the rate of the weights in front of BN and holds the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.learning_rate.learning_rate import BATCH, DEPTHS, RATES, network
from bnlib.lab.curvature import hessian_product, loss_surface, top_eigenvalue
from bnlib.lab.data import prepared
from bnlib.lab.ensemble import train_rates
from bnlib.lab.train import reproducible

SEEDS, ARMS = range(10), ("he", "bn")
STEPS, ROWS = 600, 1_000  # ROWS: images for the curvature
SPLIT_RATES, SPLIT_DEPTH, HELD = tuple(4.0**k for k in range(-1, 11)), 8, 0.125


@dataclass(frozen=True)
class Run:
    """One network, trained at many rates."""

    part: str
    arm: str
    depth: int
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return both parts on all seeds."""
    together = [Run("together", a, d, s) for s in seeds for a in ARMS for d in DEPTHS]
    return together + [Run("split", "bn", SPLIT_DEPTH, s) for s in seeds]


def measure(run: Run) -> pd.DataFrame:
    """Train a network on Fashion-MNIST at 14 x 14 pixels by SGD, at each rate."""
    data, split = prepared(factor=2), run.part == "split"
    with reproducible(run.seed):
        net = network(run.arm, run.depth)
        names = [name for name, _ in net.named_parameters()]
        normalised = [f"{3 * i}.weight" for i in range(run.depth)]
        rows = torch.randperm(len(data.x_train))[:ROWS]
        x, y = data.x_train[rows], data.y_train[rows]
        groups = {"curvature": names, "head curvature": names[-2:]}
        start = [(math.nan, 0, k, curvature(net, x, y, moving)) for k, moving in groups.items()]
        found = train_rates(
            net, data, rates=SPLIT_RATES if split else RATES, steps=STEPS, batch_size=BATCH,
            seed=run.seed, evaluate_at=[STEPS * k // 10 for k in (8, 9, 10)],
            held={name: HELD for name in names if split and name not in normalised},
        )  # fmt: skip
    return pd.concat([found, pd.DataFrame(start, columns=found.columns)], ignore_index=True)


def curvature(net: nn.Module, x: Tensor, y: Tensor, moving: Sequence[str]) -> float:
    """Return the largest eigenvalue of the Hessian of the loss in the parameters named."""
    loss, w = loss_surface(net, x, y, moving)
    return float(top_eigenvalue(hessian_product(loss, w), torch.randn_like(w)))


PROTOCOL = Experiment(
    name="learning_rate_limit",
    title="Largest learning rates with BN against curvature, and with the head's rate held",
    chapter="learning-rate",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=3,
    drifting=("curvature", "head curvature"),
)  # fmt: skip
