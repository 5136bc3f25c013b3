"""The arms of the experiment `shift` that the main comparison needs, each at its own best rate.

Rates are chosen on other seeds and on images held out of the training set. Accuracy is taken with
the noise off, and a run ends where it reaches the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import fastest_rates
from bnlib.experiments.shift.layers import noisy_mlp
from bnlib.lab.data import prepared
from bnlib.lab.models import Init
from bnlib.lab.train import reproducible, schedule, train

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
NETS: dict[str, Init] = {"sigmoid": "xavier", "relu": "he"}
RATES = {
    "sigmoid": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    "relu": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
}
ARMS: dict[str, tuple[str, float, float, bool]] = {  # normaliser; noise: dose, tau, common
    "default": ("none", 0, 0, True), "none": ("none", 0, 0, True), "none+1": ("none", 1, 0, True),
    "bn": ("bn", 0, 0, True), "bn+1": ("bn", 1, 0, True),
    "bn+4": ("bn", 4, 0, True), "bn+4 own": ("bn", 4, 0, False),
}  # fmt: skip
STEPS, BATCH, TARGET = 800, 60, 0.76


@dataclass(frozen=True)
class Run:
    """One training: which part it belongs to, its factors and its seed."""

    part: str
    net: str
    arm: str
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return both networks with all arms, each at its best rate."""
    return [
        Run("best", net, arm, tuned[f"{net}/{arm}"], s)
        for s in seeds for net in NETS for arm in ARMS
    ]  # fmt: skip


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from."""
    return [
        Run("tune", net, arm, lr, s)
        for s in TUNING_SEEDS for net in NETS for arm in ARMS for lr in RATES[net]
    ]  # fmt: skip


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm the rate with the fewest steps to the target; far ones rank by accuracy."""
    return fastest_rates(table, ["net", "arm"], TARGET)


def measure(run: Run) -> pd.DataFrame:
    """Train a 784-100-100-100-10 network; one that diverges has chance accuracy to the end."""
    with reproducible(run.seed):
        init = "default" if run.arm == "default" else NETS[run.net]
        found = train(
            noisy_mlp(run.net, init, *ARMS[run.arm]), prepared(validation=run.part == "tune"),
            steps=STEPS, batch_size=BATCH, lr=run.lr, seed=run.seed,
            evaluate_at=schedule(STEPS, 20, 1.2), stop_at=TARGET,
        )  # fmt: skip
    lost = pd.DataFrame({"step": [STEPS], "metric": ["accuracy"], "value": [0.1]})
    return pd.concat([found, lost]) if "diverged" in set(found["metric"]) else found


PROTOCOL = Experiment(
    name="shift_rates",
    title="Steps to 76% with noise after BN and without, each arm at its own best rate",
    chapter="shift",
    seeds=SEEDS,
    runs=runs,
    measure=measure,
    core_minutes=4,
    tuning=tuning,
    choose=choose,
)
