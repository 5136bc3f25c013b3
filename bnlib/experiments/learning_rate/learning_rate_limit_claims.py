"""What sets the largest rate."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import final_accuracy, paired
from bnlib.experiments.learning_rate.learning_rate_claims import TRAINS
from bnlib.experiments.learning_rate.learning_rate_limit import SPLIT_DEPTH, SPLIT_RATES


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
    found = limits(table).query("arm == 'bn'")
    found = found[found["depth"] == SPLIT_DEPTH]
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
