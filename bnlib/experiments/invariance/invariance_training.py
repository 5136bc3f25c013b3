"""Whether decay of scale-invariant weights does more than set their effective learning rate.

Part ``accuracy`` gives each arm the rate of its scale-invariant weights that is the most accurate,
part ``loss`` the one with the lowest loss, both chosen in part ``tune`` on other seeds and on
held-out images; part ``equal`` gives two arms the same rates. All other parameters have one rate
in all arms, and all rates fall linearly to zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import nn

from bnlib.evidence.experiment import Experiment, Tuned
from bnlib.experiments.invariance.weights import (
    lengths,
    parameter_groups,
    rescaling,
    scale_invariant,
)
from bnlib.lab.data import ImageData, prepared
from bnlib.lab.models import mlp
from bnlib.lab.train import accuracy, reproducible

SEEDS, TUNING_SEEDS = range(10), (9401, 9402)
# No decay; decay of the invariant weights; none, but the growing rate that equals it; none, but
# lengths put back after each step; decay of all other parameters.
ARMS = {
    "accuracy": ("none", "decay", "sphere", "rest"), "loss": ("decay", "schedule", "sphere"),
    "equal": ("none", "decay"), "tune": ("none", "decay", "sphere"),
}  # fmt: skip
RATE_OF = {"schedule": "decay", "rest": "none"}  # arms that take the rate of another
EQUAL_RATES = (0.3, 3.0)
TUNING_RATES = {
    "none": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    "decay": (0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    "sphere": (2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0),
}
REST_RATE, DECAY = 0.3, 0.01
IMAGES, BATCH, STEPS = 2_000, 50, 1_400
EVERY, LATE = 70, 1_120  # lengths are recorded every so often, scores at LATE and at the end


@dataclass(frozen=True)
class Run:
    """One training: its part, arm, rate of the invariant weights, and seed."""

    part: str
    arm: str
    lr: float
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:
    """Return each arm at its own best rates, and two arms at equal rates, on all seeds."""
    best = [
        Run(part, arm, tuned[f"{RATE_OF.get(arm, arm)}/{part}"], s)
        for s in seeds for part in ("accuracy", "loss") for arm in ARMS[part]
    ]  # fmt: skip
    equal = [Run("equal", a, lr, s) for s in seeds for a in ARMS["equal"] for lr in EQUAL_RATES]
    return best + equal


def tuning() -> list[Run]:
    """Return the runs that each arm's rates are chosen from."""
    rates = [(arm, lr) for arm in ARMS["tune"] for lr in TUNING_RATES[arm]]
    return [Run("tune", *rate, s) for s in TUNING_SEEDS for rate in rates]


def choose(table: pd.DataFrame) -> Tuned:
    """Return per arm the most accurate rate and the one with the lowest loss."""
    found: Tuned = {}
    for part, metric, sign in (("accuracy", "accuracy", 1), ("loss", "test loss", -1)):
        mean = final(table, "tune", metric).groupby(["arm", "lr"])["value"].mean()
        found |= {f"{arm}/{part}": float((sign * mean[arm]).idxmax()) for arm in ARMS["tune"]}
    return found


def measure(run: Run) -> pd.DataFrame:
    """Train a 196-100-100-10 ReLU network with BN on 2,000 images of 14 x 14 pixels."""
    data = prepared(validation=run.part == "tune", factor=2).subset(IMAGES, run.seed)
    record: list[tuple[int, str, float]] = []
    with reproducible(run.seed):
        net = mlp([196, 100, 100, 10], "bn", "relu", "he")
        if run.arm == "schedule":  # at the largest rates its weights outgrow float32
            net = net.double()
            data = replace(data, x_train=data.x_train.double(), x_test=data.x_test.double())
        start = lengths(net)
        decays = {"decay": (DECAY, 0.0), "rest": (0.0, DECAY)}.get(run.arm, (0.0, 0.0))
        sgd = torch.optim.SGD(parameter_groups(net, *decays), REST_RATE, fused=True)
        for step, (falling, growing) in enumerate(rates(run)):
            sgd.param_groups[0]["lr"], sgd.param_groups[1]["lr"] = growing, falling
            if step % EVERY == 0:
                found = {**rescaling(net, start, growing), **scores(net, data, step)}
                record += [(step, name, value) for name, value in found.items()]
            rows = torch.randint(IMAGES, (BATCH,))
            loss = nn.functional.cross_entropy(net(data.x_train[rows]), data.y_train[rows])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            if run.arm == "sphere":
                with torch.no_grad():
                    for w, now, then in zip(scale_invariant(net), lengths(net), start, strict=True):
                        w.mul_(then / now)
    return pd.DataFrame(record, columns=["step", "metric", "value"])


def rates(run: Run) -> Iterator[tuple[float, float]]:
    """Yield each step's rate of the other parameters and of the invariant weights, and zero."""
    shrunk = 1.0  # what decay alone would have left of the weights
    for step in range(STEPS + 1):
        left = 1 - step / STEPS
        rate, before = run.lr * left, shrunk
        shrunk *= 1 - rate * DECAY
        yield REST_RATE * left, rate / (before * shrunk) if run.arm == "schedule" else rate


def scores(net: nn.Sequential, data: ImageData, step: int) -> dict[str, float]:
    """Return test accuracy and loss, and training loss, at two steps."""
    if step not in (LATE, STEPS):
        return {}
    with torch.no_grad():
        net.eval()
        test, seen = (
            nn.functional.cross_entropy(net(x), y).item()
            for x, y in ((data.x_test, data.y_test), (data.x_train, data.y_train))
        )
        net.train()
    right = accuracy(net, data.x_test, data.y_test)
    return {"accuracy": right, "test loss": test, "training loss": seen}


def final(table: pd.DataFrame, part: str, metric: str) -> pd.DataFrame:
    """Return a metric after the last step, one row per run."""
    at_end = (table["part"] == part) & (table["step"] == STEPS) & (table["metric"] == metric)
    return table.loc[at_end, ["arm", "lr", "seed", "value"]]


PROTOCOL = Experiment(
    name="invariance_training",
    title="Decay of scale-invariant weights against equal effective rates without it",
    chapter="invariance",
    seeds=SEEDS, runs=runs, measure=measure, core_minutes=3,
    tuning=tuning, choose=choose,
)  # fmt: skip
