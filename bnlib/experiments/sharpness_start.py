"""Top eigenvalue of the Hessian before training, with and without BN, over depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from bnlib import curvature
from bnlib.claims import Claim
from bnlib.data import prepared
from bnlib.experiments import Experiment, Tuned
from bnlib.models import Init, mlp
from bnlib.train import reproducible

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


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:  # noqa: ARG001
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


def smoother(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the eigenvalue, without BN to with it, by weights and depth."""
    rows = table[table["metric"] == "eigenvalue"]
    wide = rows.assign(log=np.log(rows["value"])).pivot_table(
        index=["init", "depth", "seed"], columns="norm", values="log"
    )
    found = (wide["none"] - wide["bn"]).rename("value").reset_index()
    names = found["init"].map({"default": "default", "he": "He"})
    found["stratum"] = names + " weights, " + found["depth"].astype(str) + " layers"
    return found[["seed", "stratum", "value"]]


CLAIMS = (
    Claim(
        id="landscape-at-start",
        chapter="landscape", kind="empirical", sources=("santurkar2018", "yang2019"),
        statement="Before training the top eigenvalue of the Hessian is smaller with BN.",
        prediction="Without BN it is more than 1.25 times as large, for all weights and depths.",
        statistic=smoother,
        scale="log ratio", unit="times", support=math.log(1.25), refute=math.log(1.1),
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="sharpness_start",
    title="Top eigenvalue of the Hessian before training, by depth and initial weights",
    chapter="landscape",
    seeds=SEEDS, runs=runs, measure=measure, claims=CLAIMS, core_minutes=1.5,
)  # fmt: skip
