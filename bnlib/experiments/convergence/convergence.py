"""Whether batch normalization reaches a given accuracy in fewer steps, and what that depends on.

Part ``figure1`` follows Figure 1 of Ioffe & Szegedy (2015) at full length, on Fashion-MNIST. Part
``grid`` crosses initial weights with learning rates; part ``best`` gives each arm its own best
rate, chosen in part ``tune`` on other seeds and on images held out of the training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import fastest_rates
from bnlib.experiments.convergence.probes import sigmoid_inputs
from bnlib.lab.data import prepared
from bnlib.lab.models import Init, mlp
from bnlib.lab.train import reproducible, schedule, train

SEEDS, FIGURE1_SEEDS, TUNING_SEEDS = range(10), 5, (9101, 9102)
INITS = ("0.01", "0.1", "1", "xavier")  # standard deviation of Gaussian weights, or Glorot's
RATES, TUNING_RATES = (0.1, 0.5, 2.5), (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
TARGET = 0.80  # test accuracy that counts as arrived
STEPS, FIGURE1_STEPS, BATCH = 4_500, 50_000, 60
FIGURE1_INIT, FIGURE1_RATE = "0.1", 0.5


@dataclass(frozen=True)
class Run:
    """One training: which part it belongs to, its factors and its seed."""

    part: str
    norm: str
    init: str
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return figure 1 on the first five seeds, the grid and the best rates on all of them."""
    norms = ("none", "bn")
    figure1 = [
        Run("figure1", n, FIGURE1_INIT, FIGURE1_RATE, s)
        for s in seeds[:FIGURE1_SEEDS]
        for n in norms
    ]
    grid = [Run("grid", n, i, lr, s) for s in seeds for i in INITS for lr in RATES for n in norms]
    best = [Run("best", n, i, tuned[f"{n}/{i}"], s) for s in seeds for i in INITS for n in norms]
    return figure1 + grid + best


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from."""
    return [
        Run("tune", n, i, lr, s)
        for s in TUNING_SEEDS for i in INITS for lr in TUNING_RATES for n in ("none", "bn")
    ]  # fmt: skip


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm the rate with the fewest steps to the target; far ones rank by accuracy."""
    return fastest_rates(table, ["norm", "init"], TARGET)


def measure(run: Run) -> pd.DataFrame:
    """Train a 784-100-100-100-10 sigmoid network by SGD and record its test accuracy."""
    data = prepared(validation=run.part == "tune")
    figure1 = run.part == "figure1"
    every_thousand = [*schedule(1000, 20, 1.25), *range(2000, FIGURE1_STEPS + 1, 1000)]
    with reproducible(run.seed):
        init: Init = "xavier" if run.init == "xavier" else float(run.init)
        model = mlp([784, 100, 100, 100, 10], run.norm, "sigmoid", init)
        return train(
            model,
            data,
            steps=FIGURE1_STEPS if figure1 else STEPS,
            batch_size=BATCH,
            lr=run.lr,
            seed=run.seed,
            evaluate_at=every_thousand if figure1 else schedule(STEPS, 20, 1.25),
            losses_at=(1, 10, 20, 50),
            probe=sigmoid_inputs(data.x_test[:2000]) if figure1 else None,
            stop_at=TARGET if run.part in ("tune", "best") else None,
        )


PROTOCOL = Experiment(
    name="convergence",
    title="Steps to 80% test accuracy with and without BN, over initial weights and rates",
    chapter="convergence",
    seeds=SEEDS,
    runs=runs,
    measure=measure,
    core_minutes=38,
    tuning=tuning,
    choose=choose,
    drifts_from=2,
)
