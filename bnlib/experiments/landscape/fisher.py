"""Top eigenvalue of the Fisher matrix before training, over width, by where the BN layers are.

BN stands in the hidden layers, in the last layer or nowhere; inputs are images or Gaussian noise.
Place "one" is the widest network without BN and with one output, for which there is a theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.lab import curvature
from bnlib.lab.data import prepared
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible

SEEDS = range(20, 30)
WIDTHS, PLACES, INPUTS = (64, 128, 256, 512, 1024), ("none", "hidden", "last"), ("noise", "images")
SAMPLES = 1024  # as many as units in the widest layer


@dataclass(frozen=True)
class Run:
    """One network: where BN is, what it sees, its width and its seed."""

    place: str
    inputs: str
    width: int
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all places, inputs and widths on all seeds."""
    grid = [Run(p, i, w, s) for s in seeds for w in WIDTHS for i in INPUTS for p in PLACES]
    return grid + [Run("one", "noise", WIDTHS[-1], s) for s in seeds]


def measure(run: Run) -> pd.DataFrame:
    """Return the top eigenvalue in all weights whose fan-in is the width."""
    images = prepared(factor=2).x_train
    with reproducible(run.seed):
        x = images[torch.randperm(len(images))[:SAMPLES]]
        x = x if run.inputs == "images" else torch.randn_like(x)
        norm = "bn" if run.place == "hidden" else "none"
        outputs = 1 if run.place == "one" else 10
        model = mlp([196, *[run.width] * 3, outputs], norm, "relu", "he")
        if run.place == "last":
            model.append(nn.BatchNorm1d(10))
        names = [f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Linear)]
        function, w = curvature.surface(model, x, names[1:])
        product = curvature.fisher_product(function, w)
        top = curvature.top_eigenvalue(product, torch.randn_like(w), 12)
    return pd.DataFrame([(0, "eigenvalue", top)], columns=["step", "metric", "value"])


PROTOCOL = Experiment(
    name="fisher",
    title="Top eigenvalue of the Fisher matrix over width, by where the BN layers are",
    chapter="landscape",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=4,
)  # fmt: skip
