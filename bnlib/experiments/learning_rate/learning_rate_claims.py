"""How much larger the rates may be with BN, and what that is worth."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import final_accuracy
from bnlib.experiments.learning_rate.learning_rate import INITS, KEYS, RATES

TRAINS, NEAR = 0.5, 0.02  # a rate trains: accuracy TRAINS; is good: NEAR the best


def largest(table: pd.DataFrame) -> pd.DataFrame:
    """Return per network the log2 of the largest rate that trains, half the lowest if none."""
    found = final_accuracy(table[table["part"] == "map"], KEYS)
    found["value"] = np.log2(found["lr"].where(found["accuracy"] >= TRAINS, RATES[0] / 2))
    return found.groupby(["arm", "depth", "seed"])["value"].max().reset_index()


def extra_octaves(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many more octaves of rates end near the best with BN; 0 where none trains."""
    found = final_accuracy(table[table["part"] == "map"], KEYS)
    best = found.groupby(["arm", "depth", "seed"])["accuracy"].transform("max")
    found["value"] = (found["accuracy"] >= best - NEAR) & (best >= TRAINS)
    return against(found.groupby(["arm", "depth", "seed"])["value"].sum().reset_index())


def points(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return by how many points BN ends higher, each arm at its best rate."""
    found = final_accuracy(table[table["part"] == part], KEYS).query("lr == best")
    found["value"] = 100 * found["accuracy"]
    return against(found[["arm", "depth", "seed", "value"]])


def against(found: pd.DataFrame) -> pd.DataFrame:
    """Return by how much the network with BN exceeds those without, per init and depth."""
    on = ["depth", "seed"]
    treated = found[found["arm"] == "bn"].drop(columns="arm")
    both = found[found["arm"].isin(INITS)].merge(treated, on=on, suffixes=("_base", ""))
    names = both["arm"] + " init, depth " + both["depth"].astype(str)
    value = both["value"].astype(float) - both["value_base"].astype(float)
    return both.assign(value=value, treated=both["value"], stratum=names)


def rate_gain(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the largest rates; a bound where a grid of rates ends."""
    both = against(largest(table))
    low = (both["value_base"] < math.log2(RATES[0])) | (both["treated"] >= math.log2(RATES[-1]))
    kinds = np.where(low, "low", "")
    return both.assign(value=both["value"] * math.log(2), censored=kinds)


def without_larger_rate(table: pd.DataFrame) -> pd.DataFrame:
    """Return by how many points BN at the He network's best rate exceeds that network."""
    found = final_accuracy(table[table["part"] == "map"], KEYS)
    plain = found[(found["arm"] == "he") & (found["lr"] == found["best"])]
    both = plain.merge(
        found[found["arm"] == "bn"], on=["depth", "seed", "lr"], suffixes=("", "_bn")
    )
    value = 100 * (both["accuracy_bn"] - both["accuracy"])
    return both.assign(value=value, stratum="depth " + both["depth"].astype(str))


def last_share(table: pd.DataFrame) -> pd.DataFrame:
    """Return the share of BN's gain in octaves of rate that BN in the last block has."""
    wide = largest(table).pivot_table(index=["depth", "seed"], columns="arm", values="value")
    gain = (wide["bn"] - wide["he"]).groupby(level="depth").transform("mean")
    rows = ((wide["last"] - wide["he"]) / gain).rename("value").reset_index()
    return rows.assign(stratum="depth " + rows["depth"].astype(str))


_claim = partial(Claim, chapter="learning-rate", kind="empirical", sources=("ioffe2015",))
_points = partial(_claim, sources=("bjorck2018",), support=1.0, refute=0.5, unit="points")
CLAIMS = (
    _claim(
        id="learning-rate-largest",
        statement="A network with BN trains at larger learning rates.",
        prediction="Its largest rate is more than twice that without BN, at every depth and init.",
        statistic=rate_gain,
        scale="log ratio", support=math.log(2), refute=math.log(1.25), unit="times",
    ),
    _claim(
        id="learning-rate-range",
        statement="BN widens the range of learning rates that end near the best accuracy.",
        prediction="Rates within two points of an arm's best span at least one octave more.",
        statistic=extra_octaves,
        support=1.0, refute=0.5, unit="octaves",
    ),
    _points(
        id="learning-rate-best",
        statement="With each arm at its own best learning rate BN ends at a higher accuracy.",
        prediction="It ends at least one point higher, at every depth and init.",
        statistic=partial(points, part="map"),
    ),
    _points(
        id="learning-rate-long",
        statement="At best rates BN still ends higher after four times the steps.",
        prediction="With eight hidden layers it ends at least one point higher.",
        statistic=partial(points, part="long"),
    ),
    _points(
        id="learning-rate-cause",
        statement="At the plain network's best learning rate BN ends no higher.",
        prediction="What BN gains, it gains by a larger rate: less than half a point is left.",
        statistic=without_larger_rate,
        support=0.5, refute=1.0,
    ),
    _claim(
        id="learning-rate-last",
        statement="BN in the last hidden layer alone recovers most of the gain in largest rate.",
        prediction="It has at least half of the octaves that BN in every layer gains.",
        statistic=last_share,
        sources=("dauphin2021", "karakida2019"), support=0.5, refute=0.25, unit="share",
    ),
)  # fmt: skip
