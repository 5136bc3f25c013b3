"""Whether the loss is smoother with BN, raw and scale-free."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import final_accuracy
from bnlib.experiments.landscape.landscape import KEYS


def smoother(table: pd.DataFrame, metric: str, pairs: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """Return the log ratio of a measure, first arm over second, averaged over training."""
    rows = table[(table["metric"] == metric) & (table["step"] > 0)]
    rows = rows.assign(log=np.log(rows["value"]))
    wide = rows.pivot_table(index=["part", "seed"], columns="arm", values="log")
    found: list[pd.DataFrame] = [
        (wide[first] - wide[second]).loc[part].rename("value").reset_index()
        .assign(stratum=f"{part} rate, {label}")
        for part in ("equal", "best") for label, (first, second) in pairs.items()
    ]  # fmt: skip
    return pd.concat(found, ignore_index=True)


def accuracy_gap(table: pd.DataFrame) -> pd.DataFrame:
    """Return by how many points L1 and Linf differ from BN, each at its best rate."""
    best = final_accuracy(table[table["part"] == "best"], KEYS)
    wide = 100 * best.pivot_table(index="seed", columns="arm", values="accuracy")
    gaps = [(wide[f"{lp}/he"] - wide["bn/he"], lp) for lp in ("l1", "linf")]
    return pd.concat([g.rename("value").reset_index().assign(stratum=s) for g, s in gaps])


PAIRS = {
    "default weights": ("none/default", "bn/default"),
    "He weights": ("none/he", "bn/he"),
    "none He, BN default": ("none/he", "bn/default"),
}
_claim = partial(
    Claim, chapter="landscape", kind="empirical", sources=("santurkar2018",), scale="log ratio",
    support=math.log(1.25), refute=math.log(1.1), unit="times",
)  # fmt: skip
_WORDS = {
    "range": ("the loss varies less along a gradient step", "the range of the loss"),
    "change": ("the gradient predicts the gradient after the step better", "the gradient's change"),
    "smoothness": ("the effective smoothness constant is smaller", "the constant"),
    "eigenvalue": ("the top eigenvalue of the Hessian is smaller", "the eigenvalue"),
}
_UNITS = {"": "in raw units", "relative ": "in units of the weights' length"}
CLAIMS = (
    *(
        _claim(
            id=f"landscape-{'relative-' if prefix else ''}{name}",
            statement=f"Along training with BN {words}, {unit}.",
            prediction=f"Without BN {what} is more than 1.25 times as large, in every stratum.",
            statistic=partial(smoother, metric=prefix + name, pairs=PAIRS),
        )
        for name, (words, what) in _WORDS.items() for prefix, unit in _UNITS.items()
    ),
    _claim(
        id="landscape-lp-smooth",
        statement="L1 and Linf normalisation have no larger effective smoothness constant than BN.",
        prediction="Scale-free, BN's is at least 0.8 times theirs.",
        statistic=partial(
            smoother, metric="relative smoothness",
            pairs={"BN / L1": ("bn/he", "l1/he"), "BN / Linf": ("bn/he", "linf/he")},
        ),
        support=math.log(0.8), refute=math.log(0.67),
    ),
    _claim(
        id="landscape-lp-accuracy",
        statement="L1 and Linf normalisation reach BN's test accuracy, each at its best rate.",
        prediction="They end less than half a point below it.",
        statistic=accuracy_gap, scale="difference", support=-0.5, refute=-1.0, unit="points",
    ),
)  # fmt: skip
