"""Which of the two statistics the backward pass can do without."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.backward.detach import ARMS, STEPS, final


def contrast(table: pd.DataFrame, part: str, detach: str, metric: str) -> pd.DataFrame:
    """Return by how much a metric is lower, in hundredths, than with the full gradient."""
    found = final(table)
    found["served"] = found.get("by running", math.nan) - found.get("by batch", math.nan)
    factors = ["net", "lr"] if part == "grid" else ["net"]
    arms = found[found["part"] == part].pivot_table(
        index=[*factors, "seed"], columns="detach", values=metric
    )
    return _strata(100 * (arms["none"] - arms[detach]), factors)


def blow_up(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the final weight norms, both detached to none."""
    found = final(table).query("part == 'grid'").assign(log=lambda t: np.log(t["weights"]))
    arms = found.pivot_table(index=["net", "lr", "seed"], columns="detach", values="log")
    return _strata(arms["both"] - arms["none"], ["net", "lr"])


def bias_growth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the biases at the end to those half-way, mean detached."""
    rows = table.query("part == 'grid' and detach == 'mean' and metric == 'biases' and step > 0")
    at = rows.assign(log=lambda t: np.log(t["value"])).pivot_table(
        index=["net", "lr", "seed"], columns="step", values="log"
    )
    return _strata(at[STEPS] - at[STEPS // 2], ["net", "lr"])


def frozen_bias(table: pd.DataFrame) -> pd.DataFrame:
    """Return the largest bias before BN at the end of any run with the full gradient."""
    rows = final(table).query("detach == 'none'")
    return rows.groupby("seed")["biases"].max().rename("value").reset_index()


def _strata(values: pd.Series[float], factors: list[str]) -> pd.DataFrame:
    rows = values.rename("value").reset_index()
    names = rows["net"] + (", rate " + rows["lr"].astype(str) if "lr" in factors else "")
    return rows.assign(stratum=names)[["seed", "value", "stratum"]]


_claim = partial(
    Claim, chapter="backward", kind="empirical", sources=("ioffe2015",),
    support=1.0, refute=0.5, unit="points",
)  # fmt: skip
_times = partial(_claim, scale="log ratio", unit="times")
CLAIMS = (
    *(
        _claim(
            id=f"backward-detach-{arm}",
            statement=f"With {names} detached, at its own best rate, test accuracy is lower.",
            prediction="It is lower by at least one percentage point in both networks.",
            statistic=partial(contrast, part="best", detach=arm, metric="accuracy"),
        )
        for arm, names in zip(ARMS[1:], ("the mean", "the variance", "both"), strict=True)
    ),
    _claim(
        id="backward-detach-equal-rate",
        statement="With both statistics detached, at the same rate, test accuracy is lower.",
        prediction="It is lower by at least one percentage point in every cell of the grid.",
        statistic=partial(contrast, part="grid", detach="both", metric="accuracy"),
    ),
    _claim(
        id="backward-detach-evaluation",
        statement="With the mean detached, running statistics serve evaluation worse.",
        prediction="Accuracy by running against batch statistics falls by a point or more.",
        statistic=partial(contrast, part="best", detach="mean", metric="served"),
    ),
    _times(
        id="backward-detach-blow-up",
        statement="With both statistics detached the weights of a network blow up.",
        prediction="After 1,000 steps they are more than twice as long as with the full gradient.",
        statistic=blow_up, support=math.log(2), refute=math.log(1.25),
    ),
    _times(
        id="backward-detach-bias",
        statement="With the mean detached the biases of a network keep growing.",
        prediction="From step 500 to step 1,000 they grow by a factor of more than 1.25.",
        statistic=bias_growth, support=math.log(1.25), refute=math.log(1.1),
    ),
    Claim(
        id="backward-bias-frozen",
        chapter="backward", kind="exact", sources=("ioffe2015",), expected=0.0, tolerance=1e-5,
        statement="A bias in front of BN is not trained: it stays zero, to rounding.",
        prediction="After 1,000 steps in float32 the root mean square of biases is below 0.00001.",
        statistic=frozen_bias,
    ),
)  # fmt: skip
