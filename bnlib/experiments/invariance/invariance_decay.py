"""What weight decay does to scale-invariant weights: a growing rate, and a steady rotation.

Parts ``schedule`` compare SGD with decay to SGD without it at a growing rate, ``adam`` asks the
same of Adam, and parts ``rotation`` measure by how much weight vectors turn per step once their
lengths have settled. All in float64, on digits, with an epsilon far below rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import pandas as pd
import torch
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.invariance.weights import Update, parameter_groups, scale_invariant, updates
from bnlib.lab.data import ImageData, digits
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible

SEEDS = range(10)
BATCH, STEPS, SETTLED, ROTATED = 60, 300, 700, 1_500
RATE, DECAY, ADAM_RATE = 0.1, 0.01, 0.001  # of the schedule that is judged, and of Adam
SCHEDULES = ((RATE, DECAY), (0.5, 0.01), (0.5, 0.1))
ROTATIONS = ((0.5, 0.01, 0.0), (0.1, 0.1, 0.0), (0.1, 0.01, 0.9), (0.1, 0.02, 0.9))
NUDGE = 1e-15  # relative change of weights, a few units in the last place
Record = list[tuple[int, str, float]]


@dataclass(frozen=True)
class Run:
    """One check: its part, rate, decay, momentum and seed."""

    part: str
    lr: float
    decay: float
    momentum: float
    seed: int


def runs(seeds: Sequence[int], _: Tuned) -> list[Run]:
    """Return all parts on all seeds."""
    parts = [("schedule", *rates, 0.0) for rates in SCHEDULES]
    parts += [("adam", ADAM_RATE, DECAY, 0.0), *(("rotation", *rates) for rates in ROTATIONS)]
    return [Run(*part, seed) for seed in seeds for part in parts]


def measure(run: Run) -> pd.DataFrame:
    """Measure one part in float64."""
    with reproducible(run.seed):
        found = rotation(run) if run.part == "rotation" else equivalence(run)
    return pd.DataFrame(found, columns=["step", "metric", "value"])


@cache
def images() -> ImageData:
    """Return the digits as rows of 64 standardised float64 numbers."""
    data = digits().standardize().flat()
    return replace(data, x_train=data.x_train.double())


def follow(run: Run, steps: int, *, decays: bool = True, nudge: float = 0.0) -> Iterator[Update]:
    """Train with decay of the invariant weights, or without it at their growing rate."""
    torch.manual_seed(run.seed)
    # PyTorch refuses an eps of 0.
    net = mlp([64, 64, 64, 10], partial(nn.BatchNorm1d, eps=1e-30), "relu", "he").double()
    with torch.no_grad():
        for w in scale_invariant(net):
            w.mul_(1 + nudge * torch.randn(w.shape, dtype=w.dtype))
    groups = parameter_groups(net, run.decay if decays else 0.0)
    optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, run.lr, momentum=run.momentum)
    if run.part == "adam":
        optimizer = torch.optim.Adam(groups, run.lr)

    def rate(t: int) -> float:
        return run.lr if decays else run.lr * (1 - run.lr * run.decay) ** (-2 * t - 1)

    optimizer.param_groups[0]["lr"] = rate(0)
    for u in updates(net, images(), optimizer, steps=steps, batch_size=BATCH, seed=run.seed):
        yield u
        optimizer.param_groups[0]["lr"] = rate(u.step + 1)


def equivalence(run: Run) -> Record:
    """Compare decay with the growing rate, and with decay from weights off by rounding."""
    arms = [follow(run, STEPS), follow(run, STEPS, decays=False), follow(run, STEPS, nudge=NUDGE)]
    record, gap, gap_nudge = list[tuple[int, str, float]](), 0.0, 0.0
    for decay, growing, nudged in zip(*(list(arm) for arm in arms), strict=True):
        gap = max(gap, abs(growing.loss - decay.loss))
        gap_nudge = max(gap_nudge, abs(nudged.loss - decay.loss))
        if (decay.step + 1) % 10 == 0:
            found = {
                "loss decay": decay.loss, "loss schedule": growing.loss,
                "length decay": decay.after.norm(dim=1).mean().item(),
                "length schedule": growing.after.norm(dim=1).mean().item(),
                "gap": gap, "gap nudge": gap_nudge,
                "cosine": nn.functional.cosine_similarity(
                    growing.after - growing.before, growing.before
                ).abs().mean().item(),
            }  # fmt: skip
            record += [(decay.step + 1, name, value) for name, value in found.items()]
    return record


def rotation(run: Run) -> Record:
    """Measure how far the units' weights turn per step, every hundred steps and once settled."""
    angles, record = [], []
    for u in follow(run, ROTATED):
        angles.append(u.angle())
        if (u.step + 1) % 100 == 0:
            rms = torch.stack(angles[-100:]).square().mean().sqrt().item()
            length = u.before.norm(dim=1).mean().item()
            record += [(u.step + 1, "angle", rms), (u.step + 1, "length", length)]
    theory = math.sqrt(2 * run.lr * run.decay / (1 + run.momentum))
    settled = torch.stack(angles[SETTLED:]) / theory
    record.append((ROTATED, "rms over theory", settled.square().mean().sqrt().item()))
    record.append((ROTATED, "mean over theory", settled.mean().item()))
    return record


PROTOCOL = Experiment(
    name="invariance_decay",
    title="Weight decay as a growing rate, and the rotation that it settles to",
    chapter="invariance",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=1.5,
    drifts_from=51, rounding=dict.fromkeys(("cosine", "gap", "gap nudge"), 1e-9),
)  # fmt: skip
