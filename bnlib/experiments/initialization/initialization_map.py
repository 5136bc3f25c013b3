"""Accuracy over initial scale and depth, plain and with skips, with and without BN.

One number, the scale, multiplies all hidden weights of a He-initialised network. The copies of a
network at all scales train side by side, each at the rate that part ``tune`` has chosen for that
network, depth and scale on other seeds and on held-out images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import best_rates, final_accuracy
from bnlib.experiments.initialization.initialization import network
from bnlib.lab.data import prepared
from bnlib.lab.ensemble import train_rates
from bnlib.lab.train import reproducible

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
ARMS, DEPTHS = ("none", "bn", "skip-none", "skip-bn"), (2, 4, 8, 16, 32, 64)
EXPONENTS = tuple(k / 2 for k in range(-5, 6))  # log10 of the scale: five decades
RATES = (0.003, 0.03, 0.3)
STEPS, BATCH, WIDTH, ROWS = 250, 32, 32, 2_000
KEYS = ["part", "arm", "depth", "scale", "seed", "lr"]


@dataclass(frozen=True)
class Run:
    """One network at all scales; ``rates`` has the rate of each, or is empty: all rates."""

    part: str
    arm: str
    depth: int
    rates: str
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return every network and depth, each scale at its best rate."""
    rates = {
        (a, d): " ".join(str(tuned[f"{a}/{d}/{e}"]) for e in EXPONENTS)
        for a in ARMS for d in DEPTHS
    }  # fmt: skip
    return [Run("map", a, d, rates[a, d], s) for s in seeds for a in ARMS for d in DEPTHS]


def tuning() -> list[Run]:
    """Return the runs that rates are chosen from."""
    return [Run("tune", a, d, "", s) for s in TUNING_SEEDS for a in ARMS for d in DEPTHS]


def choose(table: pd.DataFrame) -> Tuned:
    """Return the rate with the highest final accuracy, per network, depth and scale."""
    return best_rates(final_accuracy(table, KEYS), ["arm", "depth", "scale"], "accuracy")


def measure(run: Run) -> pd.DataFrame:
    """Train on Fashion-MNIST at 14 x 14 pixels by SGD; ``scale`` is log10 of the scale."""
    data = prepared(validation=run.part == "tune", factor=2)
    data = replace(data, x_test=data.x_test[:ROWS], y_test=data.y_test[:ROWS])
    chosen = [float(rate) for rate in run.rates.split()]
    pairs = list(zip(EXPONENTS, chosen, strict=True)) if chosen else [
        (e, rate) for e in EXPONENTS for rate in RATES
    ]  # fmt: skip
    with reproducible(run.seed):
        found = train_rates(
            network(run.arm, run.depth, 1.0, WIDTH), data,
            rates=[rate for _, rate in pairs], scales=[10.0**e for e, _ in pairs],
            steps=STEPS, batch_size=BATCH, seed=run.seed,
            evaluate_at=[STEPS * k // 10 for k in (8, 10)],
        )  # fmt: skip
    return found.assign(scale=found["scale"].map({10.0**e: e for e in EXPONENTS}))


PROTOCOL = Experiment(
    name="initialization_map",
    title="Accuracy over initial scale and depth, plain and with skips, with and without BN",
    chapter="initialization",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=8,
    tuning=tuning, choose=choose,
)  # fmt: skip
