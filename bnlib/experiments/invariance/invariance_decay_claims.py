"""Decay as a growing rate, and the rotation at which it settles."""

from __future__ import annotations

from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.invariance.invariance_decay import DECAY


def largest_gap(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return the largest difference of the losses, with decay and with the growing rate."""
    rows = table[(table["part"] == part) & (table["metric"] == "gap")]
    judged = rows[(rows["lr"] == rows["lr"].min()) & (rows["decay"] == DECAY)]
    found: pd.DataFrame = judged.groupby("seed")["value"].max().reset_index()
    return found


def settled_rotation(table: pd.DataFrame, momentum: bool) -> pd.DataFrame:
    """Return the root mean square rotation over the predicted one, averaged over settings."""
    rows = table[(table["metric"] == "rms over theory") & ((table["momentum"] > 0) == momentum)]
    return rows.groupby("seed")["value"].mean().reset_index()


def adam_cosine(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean cosine, its sign left out, of Adam's step without decay and the weight."""
    rows = table[(table["part"] == "adam") & (table["metric"] == "cosine")]
    return rows.groupby("seed")["value"].mean().reset_index()


_theory = partial(
    Claim, chapter="invariance", kind="theory", sources=("wan2021", "kosson2024"),
    expected=1.0, tolerance=0.05,
)  # fmt: skip
_adam = partial(Claim, chapter="invariance", kind="empirical", sources=("vanlaarhoven2017",))
CLAIMS = (
    Claim(
        id="invariance-schedule", chapter="invariance", kind="exact", sources=("li2020",),
        statement="SGD with decay of scale-invariant weights equals SGD at a growing rate without.",
        prediction="At rate 0.1 and decay 0.01 the losses of 300 steps agree to rounding.",
        statistic=partial(largest_gap, part="schedule"), expected=0.0, tolerance=1e-12,
    ),
    _theory(
        id="invariance-rotation",
        statement="With decay a weight vector settles to turn by the root of 2 eta lambda a step.",
        prediction="Measured over predicted root mean square angle is 1 within 5%.",
        statistic=partial(settled_rotation, momentum=False),
    ),
    _theory(
        id="invariance-rotation-momentum",
        statement="With momentum rho the settled turn is smaller by the root of 1 + rho.",
        prediction="Measured over predicted root mean square angle is 1 within 5%.",
        statistic=partial(settled_rotation, momentum=True),
    ),
    _adam(
        id="invariance-adam-orthogonal",
        statement="Adam's step without decay is orthogonal to scale-invariant weights.",
        prediction="The mean cosine of step and weight stays below 0.001, as for SGD.",
        statistic=adam_cosine, support=0.001, refute=0.01,
    ),
    _adam(
        id="invariance-adam-schedule",
        statement="For Adam, too, a growing rate stands in for L2 on scale-invariant weights.",
        prediction="The losses of 300 steps differ by less than a millionth.",
        statistic=partial(largest_gap, part="adam"), support=1e-6, refute=1e-3, unit="nats",
    ),
)  # fmt: skip
