"""Are large learning rates worth anything at small batches? After De & Smith (2020), on an MLP.

Residual networks with BN and with SkipInit, at two batch sizes, see equally many images; each
arm's rate is chosen in part ``tune`` on other seeds and on held-out images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import best_rates, final_accuracy
from bnlib.lab.data import prepared
from bnlib.lab.ensemble import train_rates
from bnlib.lab.residual import Branch, residual_mlp
from bnlib.lab.train import reproducible

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
ARMS: dict[str, tuple[str, Branch]] = {"bn": ("bn", "plain"), "skipinit": ("none", "skipinit")}
SMALL, LARGE = BATCHES = (16, 1024)
SAMPLES, BLOCKS, WIDTH = 65_536, 4, 32  # images seen, in SAMPLES / batch steps
RATES = tuple(2.0**k for k in range(-8, 5))
TRAINS = 0.5  # final accuracy from which on a rate counts as one that trains


@dataclass(frozen=True)
class Run:
    """One network, trained at many rates; ``best`` is the arm's rate by the tuning runs."""

    part: str
    arm: str
    batch: int
    best: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return every arm at both batch sizes, on all seeds."""
    cells = [(s, a, b) for s in seeds for b in BATCHES for a in ARMS]
    return [Run("grid", a, b, tuned[f"{a}/{b}"], s) for s, a, b in cells]


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from."""
    return [Run("tune", a, b, 0.0, s) for s in TUNING_SEEDS for b in BATCHES for a in ARMS]


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm and batch size the rate with the highest final accuracy."""
    return best_rates(scores(table), ["arm", "batch"], "accuracy")


def measure(run: Run) -> pd.DataFrame:
    """Train a residual network on Fashion-MNIST at 14 x 14 pixels by SGD, at each rate."""
    norm, branch = ARMS[run.arm]
    steps = SAMPLES // run.batch
    with reproducible(run.seed):
        return train_rates(
            residual_mlp(BLOCKS, WIDTH, 196, norm=norm, branch=branch),
            prepared(validation=run.part == "tune", factor=2),
            rates=RATES, steps=steps, batch_size=run.batch, seed=run.seed,
            evaluate_at=[math.ceil(steps * k / 16) for k in (4, 8, 13, 14, 15, 16)],
        )  # fmt: skip


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Return the final accuracy of every training."""
    keys = ["arm", "batch", "best", "seed", "lr"]
    parts = [final_accuracy(rows, ["part", *keys]) for _, rows in table.groupby("batch")]
    return pd.concat(parts, ignore_index=True)


PROTOCOL = Experiment(
    name="learning_rate_batch",
    title="Residual networks with BN and SkipInit at batches of 16 and 1024, at best rates",
    chapter="learning-rate",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=6,
    tuning=tuning, choose=choose,
)  # fmt: skip
