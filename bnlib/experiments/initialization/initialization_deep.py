"""Depth 64 with and without BN, skips, SkipInit and Fixup: how many steps until it has learned.

Networks, data and target are those of experiment ``initialization``; each network has its own
best rate, chosen in part ``tune`` on other seeds and on held-out images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import fastest_rates
from bnlib.experiments.initialization.initialization import TARGET, trained
from bnlib.experiments.initialization.initialization import Run as Training

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
DEPTH = 64
RATES, LOW_RATES = (0.03, 0.1, 0.3, 1.0), (0.003, 0.01, 0.03)  # with skips, without
RIVALS = {"skipinit, 1": "SkipInit", "fixup, 1": "Fixup", "skip-none, 0.3": "skips, weights x 0.3"}
ARMS = ("none, 1", "bn, 1", "skip-bn, 1", "skip-none, 1", *RIVALS)  # network and scale of weights


@dataclass(frozen=True)
class Run:
    """One training."""

    part: str
    arm: str
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return all networks at their best rates."""
    return [Run("deep", arm, tuned[arm], s) for s in seeds for arm in ARMS]


def tuning() -> list[Run]:
    """Return the runs that rates are chosen from."""
    cells = [(arm, lr) for arm in ARMS for lr in (LOW_RATES if arm in ARMS[:2] else RATES)]
    return [Run("tune", *cell, s) for s in TUNING_SEEDS for cell in cells]


def choose(table: pd.DataFrame) -> Tuned:
    """Return the rate with the fewest steps to the target; far ones rank by accuracy."""
    return fastest_rates(table, ["arm"], TARGET)


def measure(run: Run) -> pd.DataFrame:
    """Train until the target is reached or the steps are spent."""
    arm, scale = run.arm.split(", ")
    found = trained(Training(run.part, arm, DEPTH, run.lr, 0, run.seed), math.log10(float(scale)))
    lost = found[found["metric"] == "diverged"].assign(metric="accuracy", value=0.1)
    return pd.concat([found, lost], ignore_index=True).drop(columns="at")  # lost: chance


PROTOCOL = Experiment(
    name="initialization_deep",
    title="Steps to 75% at depth 64 with and without BN, skips, SkipInit and Fixup",
    chapter="initialization",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=6,
    tuning=tuning, choose=choose,
)  # fmt: skip
