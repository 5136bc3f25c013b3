"""The depth at which networks stop training: plain with and without BN, and residual with BN.

Part ``depth`` trains each arm at its own best rate, chosen in part ``tune`` on other seeds, for
a short time. Part ``long`` gives the deepest plain networks four times as many steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import best_rates
from bnlib.lab.data import prepared
from bnlib.lab.models import mlp
from bnlib.lab.residual import residual_mlp
from bnlib.lab.train import reproducible, train

SEEDS, LONG_SEEDS, TUNING_SEEDS = range(10), 5, (9301, 9302)
DEPTHS, WIDTH, BATCH = (10, 20, 40), 64, 100
STEPS, LONG_STEPS = 200, 800
RATES = {
    "none": (0.001, 0.003, 0.01, 0.03, 0.1),
    "bn": (0.01, 0.03, 0.1, 0.3, 1.0),
    "residual": (0.03, 0.1, 0.3, 1.0, 3.0),
}
CHANCE = math.log(10)  # the loss of a network that has learnt nothing


@dataclass(frozen=True)
class Run:
    """One training: which part it belongs to, its factors and its seed."""

    part: str
    arm: str
    depth: int
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return all arms and depths on all seeds, and the long runs on the first five."""
    short = [Run("depth", a, d, tuned[f"{a}/{d}"], s) for s in seeds for d in DEPTHS for a in RATES]
    arms, deep = ("none", "bn"), DEPTHS[-1]
    long = [Run("long", a, deep, tuned[f"{a}/{deep}"], s) for s in seeds[:LONG_SEEDS] for a in arms]
    return short + long


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from, at each depth."""
    return [
        Run("tune", arm, depth, lr, s)
        for s in TUNING_SEEDS for depth in DEPTHS for arm, rates in RATES.items() for lr in rates
    ]  # fmt: skip


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm and depth the rate with the lowest final training loss."""
    found = final(table)
    return best_rates(found.assign(value=-found["value"]), ["arm", "depth"], "value")


def measure(run: Run) -> pd.DataFrame:
    """Train a ReLU network of the given depth from He's weights and record its loss."""
    steps = LONG_STEPS if run.part == "long" else STEPS
    with reproducible(run.seed):
        if run.arm == "residual":
            model = residual_mlp(run.depth, WIDTH, norm="bn", layers=1)
        else:
            model = mlp([784, *[WIDTH] * run.depth, 10], run.arm, "relu", "he")
        return train(
            model, prepared(validation=run.part == "tune"), steps=steps, batch_size=BATCH,
            lr=run.lr, seed=run.seed, losses_at=range(1, steps + 1),
            evaluate_at=() if run.part == "tune" else (steps,),
        )  # fmt: skip


def losses(table: pd.DataFrame, since: float, until: float) -> pd.DataFrame:
    """Return each run's loss, averaged between two shares of its steps; a lost run has chance's."""
    keys = ["part", "arm", "depth", "lr", "seed"]
    length = table["part"].map(lambda part: LONG_STEPS if part == "long" else STEPS)
    late = (table["step"] > since * length) & (table["step"] <= until * length)
    found = table[late & (table["metric"] == "loss")].groupby(keys)["value"].mean()
    lost = table[table["metric"] == "diverged"].groupby(keys)["step"].max()
    everything = table.groupby(keys)["step"].max().index
    value = found.reindex(everything).where(~everything.isin(lost.index)).fillna(CHANCE)
    return value.clip(upper=CHANCE).rename("value").reset_index()


def final(table: pd.DataFrame) -> pd.DataFrame:
    """Return each run's training loss over the last fifth of its steps."""
    return losses(table, 0.8, 1.0)


PROTOCOL = Experiment(
    name="gradients_depth",
    title="Training loss against depth: plain networks with and without BN, residual with BN",
    chapter="gradients",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=3.3,
    tuning=tuning, choose=choose,
)  # fmt: skip
