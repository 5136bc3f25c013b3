"""What theory says of one large step."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import paired


def theorem(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return what one theorem's part measured."""
    return table[table["metric"] == metric]


def tails(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the kurtosis, without BN to with it, of the middle layer."""
    rows = table[(table["metric"] == "kurtosis") & (table["layer"] == table["depth"] // 2)]
    return paired(rows, "arm", "bn", "he", ["depth"])


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the growth, without BN to with it, of the last hidden layer."""
    rows = table[(table["metric"] == "growth") & (table["layer"] == table["depth"])]
    return paired(rows, "arm", "bn", "he", ["depth"])


_claim = partial(Claim, chapter="learning-rate", kind="empirical", sources=("bjorck2018",),
                 scale="log ratio", unit="times")  # fmt: skip
CLAIMS = (
    Claim(
        id="learning-rate-threshold",
        chapter="learning-rate", kind="theory", sources=("cohen2021",),
        statement="Gradient descent on a quadratic is stable up to the rate 2 / curvature.",
        prediction="The largest stable rate times the largest curvature is 2, within 0.01.",
        statistic=partial(theorem, metric="threshold"), expected=2.0, tolerance=0.01,
    ),
    Claim(
        id="learning-rate-bound",
        chapter="learning-rate", kind="exact", sources=("arora2019",),
        statement="After a step of length f |w| the effective rate is 2f/(1 + f²) / (2 |w| |g|).",
        prediction="With BN and epsilon 0 all layers and lengths agree to rounding.",
        statistic=partial(theorem, metric="excess"), expected=0.0, tolerance=1e-9,
    ),
    _claim(
        id="learning-rate-growth",
        statement="One large step makes activations grow without BN and not with it.",
        prediction="At rate 1 the last hidden layer grows more than twice as much without BN.",
        statistic=growth, support=math.log(2), refute=math.log(1.25),
    ),
    _claim(
        id="learning-rate-tails",
        statement="Without BN the gradient at the start has heavier tails.",
        prediction="Its kurtosis in the middle layer is more than 1.5 times as large.",
        statistic=tails, support=math.log(1.5), refute=math.log(1.1),
    ),
)  # fmt: skip
