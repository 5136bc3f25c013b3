"""At which learning rates networks train, with and without BN, and what that is worth.

Part ``map`` crosses rates with depths and arms. Part ``long`` gives each arm its best rate, chosen
in part ``tune`` on other seeds and on held-out images, and four times the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import best_rates, final_accuracy
from bnlib.lab.data import prepared
from bnlib.lab.ensemble import train_rates
from bnlib.lab.models import Init, mlp
from bnlib.lab.train import reproducible

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
ARMS = ("default", "he", "last", "bn")  # no BN, by initial weights; BN in the last block; BN
INITS: dict[str, tuple[str, Init]] = {"default": ("none", "default"), "he": ("none", "he")}
DEPTHS, WIDTH, LONG_DEPTH = (4, 8, 16), 32, 8  # hidden layers and their units
RATES = tuple(2.0**k for k in range(-8, 5))
STEPS, LONG_STEPS, BATCH = 1_500, 6_000, 32
KEYS = ["part", "arm", "depth", "best", "seed", "lr"]


@dataclass(frozen=True)
class Run:
    """One network, trained at many rates; ``best`` is the arm's rate by the tuning runs."""

    part: str
    arm: str
    depth: int
    best: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return the map and the long trainings, on all seeds."""
    cells = [(s, a, d, tuned[f"{a}/{d}"]) for s in seeds for a in ARMS for d in DEPTHS]
    grid = [Run("map", a, d, rate, s) for s, a, d, rate in cells]
    return grid + [Run("long", a, d, rate, s) for s, a, d, rate in cells if d == LONG_DEPTH]


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from."""
    return [Run("tune", a, d, 0.0, s) for s in TUNING_SEEDS for a in ARMS for d in DEPTHS]


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm and depth the rate with the highest final accuracy."""
    return best_rates(final_accuracy(table, KEYS), ["arm", "depth"], "accuracy")


def measure(run: Run) -> pd.DataFrame:
    """Train a network on Fashion-MNIST at 14 x 14 pixels by SGD, at each rate."""
    steps, rates = (LONG_STEPS, (run.best,)) if run.part == "long" else (STEPS, RATES)
    with reproducible(run.seed):
        return train_rates(
            network(run.arm, run.depth), prepared(validation=run.part == "tune", factor=2),
            rates=rates, steps=steps, batch_size=BATCH, seed=run.seed,
            evaluate_at=[steps * k // 10 for k in (2, 5, 8, 9, 10)],
        )  # fmt: skip


def network(arm: str, depth: int) -> nn.Sequential:
    """Return a ReLU network with ``depth`` hidden layers, the arm's normaliser and init."""
    norm, init = INITS.get(arm, ("bn", "he"))
    net = mlp([196, *[WIDTH] * depth, 10], norm, "relu", init)
    for i in range(1, 3 * (depth - 1), 3) if arm == "last" else ():
        net[i] = nn.Identity()
    return net


PROTOCOL = Experiment(
    name="learning_rate",
    title="Networks with and without BN over learning rates and depths",
    chapter="learning-rate",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=11,
    tuning=tuning, choose=choose,
)  # fmt: skip
