"""What sets the largest learning rate: curvature at the start, the head, or the normalised weights.

Part ``together`` trains networks at many rates, the same for all parameters, beside the curvature
before training. Part ``split`` raises the rate of the weights in front of BN and holds the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.claims import Claim
from bnlib.curvature import hessian_product, loss_surface, top_eigenvalue
from bnlib.data import prepared
from bnlib.ensemble import train_rates
from bnlib.experiments import Experiment, Tuned
from bnlib.experiments.learning_rate import BATCH, DEPTHS, RATES, TRAINS, network
from bnlib.stats import final_accuracy, paired
from bnlib.train import reproducible

SEEDS, ARMS = range(10), ("he", "bn")
STEPS, ROWS = 600, 1_000  # ROWS: images for the curvature
SPLIT_RATES, SPLIT_DEPTH, HELD = tuple(4.0**k for k in range(-1, 11)), 8, 0.125


@dataclass(frozen=True)
class Run:
    """One network, trained at many rates."""

    part: str
    arm: str
    depth: int
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:  # noqa: ARG001
    """Return both parts on all seeds."""
    together = [Run("together", a, d, s) for s in seeds for a in ARMS for d in DEPTHS]
    return together + [Run("split", "bn", SPLIT_DEPTH, s) for s in seeds]


def measure(run: Run) -> pd.DataFrame:
    """Train a network on Fashion-MNIST at 14 x 14 pixels by SGD, at each rate."""
    data, split = prepared(factor=2), run.part == "split"
    with reproducible(run.seed):
        net = network(run.arm, run.depth)
        names = [name for name, _ in net.named_parameters()]
        normalised = [f"{3 * i}.weight" for i in range(run.depth)]
        rows = torch.randperm(len(data.x_train))[:ROWS]
        x, y = data.x_train[rows], data.y_train[rows]
        groups = {"curvature": names, "head curvature": names[-2:]}
        start = [(math.nan, 0, k, curvature(net, x, y, moving)) for k, moving in groups.items()]
        found = train_rates(
            net, data, rates=SPLIT_RATES if split else RATES, steps=STEPS, batch_size=BATCH,
            seed=run.seed, evaluate_at=[STEPS * k // 10 for k in (8, 9, 10)],
            held={name: HELD for name in names if split and name not in normalised},
        )  # fmt: skip
    return pd.concat([found, pd.DataFrame(start, columns=found.columns)], ignore_index=True)


def curvature(net: nn.Module, x: Tensor, y: Tensor, moving: Sequence[str]) -> float:
    """Return the largest eigenvalue of the Hessian of the loss in the parameters named."""
    loss, w = loss_surface(net, x, y, moving)
    return float(top_eigenvalue(hessian_product(loss, w), torch.randn_like(w)))


def limits(table: pd.DataFrame) -> pd.DataFrame:
    """Return per network the log of the largest rate that trains, and its curvatures."""
    keys = ["part", "arm", "depth", "seed"]
    found = final_accuracy(table, [*keys, "lr"])
    rate = np.log(found[found["accuracy"] >= TRAINS].groupby(keys)["lr"].max().rename("rate"))
    start = table[table["step"] == 0].pivot_table(index=keys, columns="metric", values="value")
    both: pd.DataFrame = pd.concat([rate, start], axis=1).reset_index()
    return both.assign(stratum="depth " + both["depth"].astype(str))


def beyond(table: pd.DataFrame) -> pd.DataFrame:
    """Return how much further beyond 2 / curvature BN trains than the plain network, as a log."""
    found = limits(table).query("part == 'together'")
    found["value"] = found["rate"] + np.log(found["curvature"] / 2)
    return paired(found, "arm", "he", "bn", ["depth"])


def head_misses(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log of the factor by which 2 / the head's curvature misses the largest rate."""
    found = limits(table).query("part == 'together' and arm == 'bn'")
    return found.assign(value=(found["rate"] + np.log(found["head curvature"] / 2)).abs())


def split_gain(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the largest rates, split to together; a bound at the grid's end."""
    found = limits(table).query("arm == 'bn' and depth == @SPLIT_DEPTH")
    rows = paired(found.rename(columns={"rate": "value"}), "part", "together", "split")
    at_end = found[found["rate"] >= math.log(SPLIT_RATES[-1])]["seed"]
    return rows.assign(censored=np.where(rows["seed"].isin(at_end), "low", ""))


_claim = partial(Claim, chapter="learning-rate", kind="empirical", scale="log ratio", unit="times")
CLAIMS = (
    _claim(
        id="learning-rate-beyond",
        sources=("bjorck2018", "cohen2021"),
        statement="BN trains further beyond the limit of its own curvature than a plain network.",
        prediction="Largest rate over 2 / curvature before training is more than twice as large.",
        statistic=beyond, support=math.log(2), refute=math.log(1.25),
    ),
    _claim(
        id="learning-rate-head",
        sources=("karakida2019",),
        statement="With BN the curvature of the head before training tells the largest rate.",
        prediction="The largest rate is 2 / that curvature, to within a factor of two.",
        statistic=head_misses, support=math.log(2), refute=math.log(3),
    ),
    _claim(
        id="learning-rate-split",
        sources=("arora2019", "ioffe2015"),
        statement="With all other parameters held, the weights in front of BN stand any rate.",
        prediction="They train at more than 100 times the largest rate that all together stand.",
        statistic=split_gain, support=math.log(100), refute=math.log(2),
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="learning_rate_limit",
    title="Largest learning rates with BN against curvature, and with the head's rate held",
    chapter="learning-rate",
    seeds=SEEDS, runs=runs, measure=measure, claims=CLAIMS, core_minutes=3,
)  # fmt: skip
