"""Is the loss smoother along training with BN? Raw and scale-free, over weights and rates.

Networks 784-100-100-100-10 are looked at on a fixed batch at a few steps of training: how loss and
gradient change along the gradient step, and the top eigenvalue of the Hessian, all in the weights
of the hidden layers, which every arm has. Part ``equal``: one rate for all; part ``best``: each
arm's own, chosen in part ``tune`` on other seeds and on held-out images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.evidence.tables import best_rates, final_accuracy
from bnlib.experiments.landscape.lp_norm import LpNorm1d
from bnlib.lab.curvature import survey
from bnlib.lab.data import prepared
from bnlib.lab.models import Init, Norm, mlp
from bnlib.lab.train import reproducible, train

SEEDS, TUNING_SEEDS = range(10), (9301, 9302)
NORMS: dict[str, Norm] = {
    "none": "none", "bn": "bn", "l1": partial(LpNorm1d, p=1), "linf": partial(LpNorm1d, p=math.inf)
}  # fmt: skip
INITS: dict[str, Init] = {"default": "default", "he": "he"}
ARMS = ("none/default", "none/he", "bn/default", "bn/he", "l1/he", "linf/he")
RATE, TUNING_RATES = 0.1, (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
STEPS, BATCH, LOOKED_AT = 1_200, 100, 512
LOOKS, FINAL = (0, 50, 150, 400, 1_200), (960, 1_080, 1_200)  # accuracy: mean over FINAL
KEYS = ["part", "arm", "lr", "seed"]


@dataclass(frozen=True)
class Run:
    """One training: which part it belongs to, its factors and its seed."""

    part: str
    arm: str
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return all arms at the shared rate and at their best ones."""
    equal = [Run("equal", arm, RATE, seed) for seed in seeds for arm in ARMS]
    return equal + [Run("best", arm, tuned[arm], seed) for seed in seeds for arm in ARMS]


def tuning() -> list[Run]:
    """Return the runs that each arm's rate is chosen from."""
    return [Run("tune", a, lr, s) for s in TUNING_SEEDS for a in ARMS for lr in TUNING_RATES]


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm the rate with the highest final accuracy."""
    return best_rates(final_accuracy(table, KEYS), ["arm"], "accuracy")


def measure(run: Run) -> pd.DataFrame:
    """Train a network by SGD and look at its loss surface on the way."""
    tunes = run.part == "tune"
    data = prepared(validation=tunes)
    norm, init = run.arm.split("/")
    with reproducible(run.seed):
        rows = torch.randperm(len(data.x_train))[:LOOKED_AT]

        def look(model: nn.Module, step: int) -> dict[str, float]:
            if tunes or step not in LOOKS:
                return {}
            return survey(model, data.x_train[rows], data.y_train[rows], run.lr, run.seed)

        model = mlp([784, 100, 100, 100, 10], NORMS[norm], "relu", INITS[init])
        return train(
            model, data, steps=STEPS, batch_size=BATCH, lr=run.lr, seed=run.seed,
            evaluate_at=sorted({*LOOKS, *FINAL}), probe=look,
        )  # fmt: skip


KINKS = ("range", "change", "smoothness", "eigenvalue")  # of ReLU, between here and a step ahead
PROTOCOL = Experiment(
    name="landscape",
    title="Smoothness of the loss along training, with and without BN, raw and scale-free",
    chapter="landscape",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=8,
    tuning=tuning, choose=choose,
    drifting=(*KINKS, *(f"relative {name}" for name in KINKS)),
)  # fmt: skip
