"""The identities of the backward pass, measured on PyTorch's own layer, and a one-layer ablation.

Part ``identity``: what the gradient does with random channels. Part ``layer``: a bias behind a
detached mean and a weight behind a detached deviation, where the result can be derived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.lab.train import reproducible

SEEDS = range(10)
SIZES, CHANNELS = (3, 4, 8), 20_000
STEPS, RATE, TARGET_SCALE = 1_000, 0.1, 2.0
Record = list[tuple[int, str, float]]


@dataclass(frozen=True)
class Run:
    """One check: which part, and its seed."""

    part: str
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return both parts on all seeds."""
    return [Run(part, seed) for seed in seeds for part in ("identity", "layer")]


def measure(run: Run) -> pd.DataFrame:
    """Measure one part in float64."""
    with reproducible(run.seed):
        found = identities() if run.part == "identity" else one_layer()
    return pd.DataFrame(found, columns=["step", "metric", "value"])


def identities() -> Record:
    """Return, at step m, what the gradient does with m log-normal values per channel."""
    record: Record = []
    for m in SIZES:
        x = torch.randn(m, CHANNELS, dtype=torch.float64).exp().requires_grad_()
        dy = torch.randn(m, CHANNELS, dtype=torch.float64)
        # PyTorch refuses an eps of 0; this one is far below rounding.
        xhat = nn.functional.batch_norm(x, None, None, training=True, eps=1e-30)
        dx = torch.autograd.grad(xhat, x, dy)[0] * x.std(0, correction=0)
        length = dy.norm(dim=0)
        record += [
            (m, "kept", (dx.norm(dim=0) / length).square().mean().item()),
            (m, "sum", (dx.sum(0) / length).abs().max().item()),
            (m, "inner", ((dx * xhat).sum(0) / length).abs().max().item()),
        ]
    return record


def one_layer() -> Record:
    """Train a bias behind a detached mean, and a weight behind a detached deviation."""
    u, target = torch.randn(2, 64, dtype=torch.float64)
    u, target = (u - u.mean()) / u.std(correction=0), target + 2.0
    b, w = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.0, 1.0))
    record: Record = []
    for step in range(STEPS + 1):
        centred = u + b - (u + b).mean().detach()
        scaled = w * u / (w * u).std(correction=0).detach()
        loss_b = (centred - target).square().mean() / 2
        loss_w = (scaled - TARGET_SCALE * u).square().mean() / 2
        record += [(step, "loss b", loss_b.item()), (step, "loss w", loss_w.item())]
        record += [(step, "b", b.item()), (step, "w2", w.item() ** 2)]
        grads = torch.autograd.grad(loss_b + loss_w, (b, w))
        with torch.no_grad():
            b -= RATE * grads[0]
            w -= RATE * grads[1]
    return [*record, (0, "target mean", target.mean().item())]


PROTOCOL = Experiment(
    name="backward",
    title="Identities of the gradient, and one layer with a statistic detached",
    chapter="backward",
    seeds=SEEDS,
    runs=runs,
    measure=measure,
    core_minutes=0.2,
    drifts_from=math.inf,
    rounding=dict.fromkeys(("sum", "inner", "kept"), 1e-9),
)
