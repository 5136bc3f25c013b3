"""What is derived about internal covariate shift."""

from __future__ import annotations

from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import worst


def number(table: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """Return the mean of some metrics."""
    rows = table[table["metric"].isin(metrics)]
    return rows.groupby("seed")["value"].mean().reset_index()


_exact = partial(
    Claim, chapter="shift", kind="exact", sources=("santurkar2018",), expected=0.0, tolerance=1e-9
)
_ratio = partial(_exact, expected=1.0)
CLAIMS = (
    _ratio(
        id="shift-noise-variance",
        kind="theory", tolerance=0.01,
        statement="Mean and scale of the noise have the variances of their uniform laws.",
        prediction="For correlation times of 0, 3 and 30 steps measured over designed is 1.",
        statistic=partial(number, metrics=("mean", "scale")),
    ),
    _ratio(
        id="shift-noise-jump",
        kind="theory", tolerance=0.01,
        statement="From step to step the noise moves by the derived mean square.",
        prediction="Measured over derived is 1 for correlation times of 0, 3 and 30 steps.",
        statistic=partial(number, metrics=("jump",)),
    ),
    _exact(
        id="shift-bn-output",
        sources=("ioffe2015",),
        statement="The first two moments of what BN's normalisation puts out never shift.",
        prediction="At every step of a training they are 0 and 1 to rounding.",
        statistic=partial(worst, metric="moment"),
    ),
    _exact(
        id="shift-before-bn",
        statement="Distributions that jump in front of BN leave the training as it was.",
        prediction="All losses of 100 steps agree with those without the jumps to rounding.",
        statistic=partial(worst, metric="loss"),
    ),
    _ratio(
        id="shift-gradient-raw",
        statement="The raw second definition falls as 1/a when weights in front of BN grow by a.",
        prediction="At 10 times the weights, and the same function throughout, it is 0.1 times.",
        expected=0.1,
        statistic=partial(number, metrics=("raw",)),
    ),
    _ratio(
        id="shift-gradient-relative",
        statement="Relative to the gradient, the second definition does not depend on that scale.",
        prediction="At 10 times the weights it is the same.",
        statistic=partial(number, metrics=("relative",)),
    ),
    _ratio(
        id="shift-gradient-curvature",
        kind="theory", tolerance=0.001,
        statement="For a small step the second definition is a block of the Hessian at work.",
        prediction="It is the rate times the mixed block times the gradient of the layers below.",
        statistic=partial(number, metrics=("linear",)),
    ),
)  # fmt: skip
