"""The identities of the backward pass, exact or derived, and what leaving a term out costs."""

from __future__ import annotations

from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import worst
from bnlib.experiments.backward.backward import RATE, STEPS, TARGET_SCALE


def kept(table: pd.DataFrame) -> pd.DataFrame:
    """Return the kept share of the squared gradient over (m-2)/m, averaged over the sizes."""
    rows = table[table["metric"] == "kept"]
    ratio = rows["value"] * rows["step"] / (rows["step"] - 2)
    return ratio.groupby(rows["seed"]).mean().rename("value").reset_index()


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
