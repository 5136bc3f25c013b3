"""What happens to a batch on its way up a deep random network, with and without BN.

The cosines between the samples of a batch, and the variance over the batch, at each layer of
networks at initialisation, against the values at infinite width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.gradients.randomnet import ACTS, Net, cosines, normalise, propagate
from bnlib.lab.data import prepared
from bnlib.lab.train import reproducible

SEEDS, DEPTH, WIDTH = range(10), 50, 800
BATCHES, SETTLED, BLOCKS = (4, 16, 64), 10, 12
NETS = {
    "none": Net("none", batch=16),
    **{f"bn {b}": Net("bn", batch=b) for b in BATCHES},
    "residual none": Net("none", batch=64, residual=True),
    "residual bn": Net("bn", batch=64, residual=True),
    "images none": Net("none", batch=64),
    "images bn": Net("bn", batch=64),
}


@dataclass(frozen=True)
class Run:
    """One random network: which of `NETS`, and its seed."""

    arm: str
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all networks on all seeds."""
    return [Run(arm, seed) for seed in seeds for arm in NETS]


def measure(run: Run) -> pd.DataFrame:
    """Measure a batch at each layer, Gaussian noise or images behind a random linear map."""
    net, record = NETS[run.arm], []
    width = 2 * WIDTH if run.arm == "none" else WIDTH  # its limit is approached more slowly
    dtype = torch.float64 if run.arm.startswith("bn") else torch.float32  # for the exact claim
    with reproducible(run.seed), torch.no_grad():
        z = torch.randn(net.batch, width, dtype=dtype)
        if run.arm.startswith("images"):
            x = prepared().x_train
            x = x[torch.randperm(len(x))[: net.batch]]
            z = x @ torch.randn(x.shape[1], width) / math.sqrt(x.shape[1])
        inputs = propagate(net, z, DEPTH)
    for layer, x in enumerate(inputs):
        v = normalise(x.detach(), net.norm)
        cosine, spread = cosines(v)
        found = {
            "cosine": cosine, "spread": spread, "after": cosines(ACTS[net.act](v))[0],
            "second": x.square().mean().item(), "variance": x.var(0, correction=0).mean().item(),
        }  # fmt: skip
        record += [(layer, metric, value) for metric, value in found.items()]
    return pd.DataFrame(record, columns=["step", "metric", "value"])


PROTOCOL = Experiment(
    name="gradients_signal",
    title="Cosines and variances of a batch in deep random networks, with and without BN",
    chapter="gradients",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=0.75,
    drifts_from=20,  # layers amplify rounding errors as training does
)  # fmt: skip
