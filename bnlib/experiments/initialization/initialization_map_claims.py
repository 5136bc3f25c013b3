"""At how many scales and depths a network trains, and what small weights do for skips."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import final_accuracy
from bnlib.experiments.initialization.initialization_map import DEPTHS, KEYS

TRAINS = 0.5  # final accuracy from which on a network counts as one that trains
NETS = {"plain": ("none", "bn"), "skips": ("skip-none", "skip-bn")}


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return the final accuracy per network, depth, scale and seed."""
    return final_accuracy(table, KEYS)


def area(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many more of the cells, in points of per cent, train with BN."""
    found = cells(table)
    found["value"] = 100.0 * (found["accuracy"] >= TRAINS)
    share = found.pivot_table(index="seed", columns="arm", values="value")
    return _strata({net: share[bn] - share[none] for net, (none, bn) in NETS.items()})


def deepest(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the largest depths that train at He's scale, BN to none, plain."""
    found = cells(table).query("scale == 0")
    found["value"] = np.log(found["depth"].where(found["accuracy"] >= TRAINS, DEPTHS[0] / 2))
    top = found.pivot_table(index="seed", columns="arm", values="value", aggfunc="max")
    end = math.log(DEPTHS[-1])
    kind = np.select([top["none"] == end, top["bn"] == end], ["high", "low"], "")
    return (top["bn"] - top["none"]).rename("value").reset_index().assign(censored=kind)


def rival(table: pd.DataFrame) -> pd.DataFrame:
    """Return the points by which BN at He's scale exceeds no BN at a tenth of it, with skips."""
    wide = 100 * cells(table).pivot_table(
        index=["depth", "seed"], columns=["arm", "scale"], values="accuracy"
    )
    gain = wide["skip-bn", 0.0] - wide["skip-none", -1.0]
    return _strata({f"depth {d}": gain.loc[d] for d in DEPTHS})


def _strata(values: dict[str, pd.Series[float]]) -> pd.DataFrame:
    return pd.concat(
        v.rename("value").reset_index()[["seed", "value"]].assign(stratum=name)
        for name, v in values.items()
    )


_claim = partial(Claim, chapter="initialization", kind="empirical", sources=("ioffe2015",))
CLAIMS = (
    _claim(
        id="initialization-map-area",
        statement="With BN a network trains at more initial scales and depths.",
        prediction="At least 20% more of the cells from depth 2 to 64 and over five decades.",
        statistic=area, support=20.0, refute=10.0, unit="points",
    ),
    _claim(
        id="initialization-map-depth",
        statement="At He's scale plain networks of more layers train with BN than without.",
        prediction="The deepest that trains within the steps has at least twice as many layers.",
        statistic=deepest, sources=("ioffe2015", "yang2019"),
        scale="log ratio", support=math.log(2), refute=math.log(1.25), unit="times",
    ),
    _claim(
        id="initialization-map-rival",
        statement="With skips BN ends higher than small initial weights in its place.",
        prediction="At He's scale it exceeds a tenth of it without BN by at least two points.",
        statistic=rival, sources=("desmith2020", "zhang2019fixup"),
        support=2.0, refute=1.0, unit="points",
    ),
)  # fmt: skip
