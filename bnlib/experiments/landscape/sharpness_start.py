"""Top eigenvalue of the Hessian before training, with and without BN, over depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.lab import curvature
from bnlib.lab.data import prepared
from bnlib.lab.models import Init, mlp
from bnlib.lab.train import reproducible

SEEDS = range(10)
DEPTHS, BATCH = (3, 10, 30), 512
INITS: dict[str, Init] = {"default": "default", "he": "he"}


@dataclass(frozen=True)
class Run:
    """One plain ReLU network of width 100: its normaliser, weights, hidden layers and seed."""

    norm: str
    init: str
    depth: int
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all depths and weights on all seeds."""
    return [Run(n, i, d, s) for s in seeds for d in DEPTHS for i in INITS for n in ("none", "bn")]


def measure(run: Run) -> pd.DataFrame:
    """Return the top eigenvalue in the hidden weights, on a batch of Fashion-MNIST."""
    data = prepared()
    with reproducible(run.seed):
        rows = torch.randperm(len(data.x_train))[:BATCH]
        model = mlp([784, *[100] * run.depth, 10], run.norm, "relu", INITS[run.init])
        names = curvature.hidden_weights(model)
        loss, w = curvature.loss_surface(model, data.x_train[rows], data.y_train[rows], names)
        value, g = curvature.value_and_gradient(loss, w)
        product = curvature.hessian_product(loss, w)
        found = {
            "batch loss": value,
            "gradient": g.norm().item(),
            "length": w.norm().item(),
            "eigenvalue": curvature.top_eigenvalue(product, torch.randn_like(w), 20),
        }
    return pd.DataFrame([(0, *row) for row in found.items()], columns=["step", "metric", "value"])


PROTOCOL = Experiment(
    name="sharpness_start",
    title="Top eigenvalue of the Hessian before training, by depth and initial weights",
    chapter="landscape",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=1.5,
    drifts_from=0,  # depth amplifies rounding errors as training does
)  # fmt: skip
