"""The identities of the backward pass, measured on PyTorch's own layer, and a one-layer ablation.

Part ``identity``: what the gradient does with random channels. Part ``layer``: a bias behind a
detached mean and a weight behind a detached deviation, where the result can be derived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import nn

from bnlib.claims import Claim
from bnlib.experiments import Experiment, Tuned
from bnlib.train import reproducible

SEEDS = range(10)
SIZES, CHANNELS = (3, 4, 8), 20_000
STEPS, RATE, TARGET_SCALE = 1_000, 0.1, 2.0
Record = list[tuple[int, str, float]]


@dataclass(frozen=True)
class Run:
    """One check: which part, and its seed."""

    part: str
    seed: int


def runs(seeds: Sequence[int], tuned: Tuned) -> list[Run]:  # noqa: ARG001
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


def kept(table: pd.DataFrame) -> pd.DataFrame:
    """Return the kept share of the squared gradient over (m-2)/m, averaged over the sizes."""
    rows = table[table["metric"] == "kept"]
    ratio = rows["value"] * rows["step"] / (rows["step"] - 2)
    return ratio.groupby(rows["seed"]).mean().rename("value").reset_index()


def worst(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the largest value of a metric."""
    rows = table[table["metric"] == metric]
    return rows.groupby("seed")["value"].max().reset_index()


def drift(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return how far b, or the square of w, has come, over what the derivation says."""
    wide = table.pivot_table(index="seed", columns=["metric", "step"], values="value")
    per_step = wide["target mean", 0] if metric == "b" else 2 * (TARGET_SCALE - 1)
    moved = wide[metric, STEPS] - wide[metric, 0]
    return (moved / (RATE * STEPS * per_step)).rename("value").reset_index()


def loss_change(table: pd.DataFrame) -> pd.DataFrame:
    """Return the largest change of either loss during the whole training."""
    rows = table[table["metric"].isin(["loss b", "loss w"])]
    spread = rows.groupby(["seed", "metric"])["value"].agg(lambda v: v.max() - v.min())
    return spread.groupby("seed").max().rename("value").reset_index()


_exact = partial(
    Claim, chapter="backward", kind="exact", sources=("ioffe2015",), expected=0.0, tolerance=1e-9
)
CLAIMS = (
    _exact(
        id="backward-sum-zero",
        statement="The gradients of a channel's inputs sum to zero.",
        prediction="Their sum is zero to rounding, relative to the gradient that arrives.",
        statistic=partial(worst, metric="sum"),
    ),
    _exact(
        id="backward-orthogonal",
        statement="Without epsilon the gradient is orthogonal to the normalised input.",
        prediction="The inner product is zero to rounding.",
        statistic=partial(worst, metric="inner"),
    ),
    _exact(
        id="backward-share",
        kind="theory", expected=1.0, tolerance=0.01,
        statement="BN keeps (m-2)/m of the squared norm of a random gradient, whatever the input.",
        prediction="For m of 3, 4 and 8 measured over predicted is 1 within 1%.",
        statistic=kept,
    ),
    _exact(
        id="backward-loss-fixed",
        statement="In one layer with a detached statistic, training changes the loss not at all.",
        prediction="The loss stays the same to rounding over 1,000 steps.",
        statistic=loss_change,
    ),
    _exact(
        id="backward-bias-drifts",
        expected=1.0,
        statement="In one layer with the mean detached, the bias moves by the same step for ever.",
        prediction="After 1,000 steps it has moved by 1,000 times the first step.",
        statistic=partial(drift, metric="b"),
    ),
    _exact(
        id="backward-weight-drifts",
        kind="theory", expected=1.0, tolerance=0.01,
        statement="In one layer with the deviation detached, the squared weight grows linearly.",
        prediction="Its growth in 1,000 steps is the derived one within 1%.",
        statistic=partial(drift, metric="w2"),
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="backward",
    title="Identities of the gradient, and one layer with a statistic detached",
    chapter="backward",
    seeds=SEEDS,
    runs=runs,
    measure=measure,
    claims=CLAIMS,
    core_minutes=0.2,
)
