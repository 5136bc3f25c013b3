"""How wide the band of initial scales is, and what moves BN's edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.initialization.initialization import EQUAL_RATE, LARGE_EPS, SQUARED

EPS_EDGE = math.log10(math.sqrt(1e-5 / (1 - 1 / math.pi)))  # where BN with eps starts to shrink


def bands(table: pd.DataFrame, equal: bool = False) -> pd.DataFrame:
    """Return per arm, depth and seed the edges and the width of the band, and what is open."""
    keys = ["arm", "depth", "lr", "seed"]
    rows = table[table["metric"].isin(["edge", "beyond"])]
    rates = rows.groupby(["arm", "depth"])["lr"].transform("nunique")
    rows = rows[rows["lr"] == EQUAL_RATE if equal else (rates == 1) | (rows["lr"] != EQUAL_RATE)]
    found = rows.pivot_table(index=keys, columns="side", values="value")
    open_ = rows.assign(o=rows["metric"] == "beyond").pivot_table(
        index=keys, columns="side", values="o", aggfunc="any", fill_value=False
    )
    found = found.assign(width=found[1] - found[-1]).rename(columns={-1: "low", 1: "high"})
    open_ = open_.assign(width=open_[1] | open_[-1]).rename(columns={-1: "low", 1: "high"})
    return found.join(open_.add_prefix("open_")).reset_index()


def contrast(
    table: pd.DataFrame,
    base: str,
    treated: str,
    what: str,
    depths: Sequence[int],
    equal: bool = False,
) -> pd.DataFrame:
    """Return by how many decades an edge or width of one arm exceeds another's."""
    found = bands(table, equal)
    arms = [found[(found["arm"] == arm) & found["depth"].isin(depths)] for arm in (base, treated)]
    both = arms[0].merge(arms[1], on=["depth", "seed"], suffixes=("_b", "_t"))
    kinds = {(0, 0): "", (0, 1): "low", (1, 0): "high", (1, 1): "both"}
    opened = zip(both[f"open_{what}_b"], both[f"open_{what}_t"], strict=True)
    return both[["seed"]].assign(
        value=both[f"{what}_t"] - both[f"{what}_b"],
        stratum="depth " + both["depth"].astype(str),
        censored=[kinds[int(b), int(t)] for b, t in opened],
    )


def narrowing(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the plain network's widths, depth 4 to depth 16."""
    found = bands(table).query("arm == 'none'")
    width = np.log(
        found.pivot_table(index="seed", columns="depth", values="width").clip(lower=0.01)
    )
    ratio: pd.Series[float] = width[4] - width[16]
    return ratio.rename("value").reset_index()


def coverage(table: pd.DataFrame) -> pd.DataFrame:
    """Return which share, in per cent, of the five decades around He's scale BN's band covers."""
    found = bands(table).query("arm == 'bn'")
    inside = found["high"].clip(-2.5, 2.5) - found["low"].clip(-2.5, 2.5)
    return found[["seed"]].assign(value=20 * inside, stratum="depth " + found["depth"].astype(str))


_equal = partial(contrast, depths=[8], equal=True)
_claim = partial(
    Claim, chapter="initialization", kind="empirical", sources=("ioffe2015",),
    support=1.0, refute=0.5, unit="decades",
)  # fmt: skip
CLAIMS = (
    _claim(
        id="initialization-equal-rate",
        statement="At learning rate 0.1 a plain network of depth 8 trains in a wider band with BN.",
        prediction="The band is wider by at least one decade.",
        statistic=partial(_equal, base="none", treated="bn", what="width"),
    ),
    _claim(
        id="initialization-best-rate",
        statement="At each network's best rate a plain network trains in a wider band with BN.",
        prediction="The band is wider by at least one decade at depths 2, 8 and 16.",
        statistic=partial(contrast, base="none", treated="bn", what="width", depths=[2, 8, 16]),
    ),
    _claim(
        id="initialization-narrows",
        statement="Without BN the band of a plain network narrows with depth.",
        prediction="In decades it is at least twice as wide at depth 4 as at depth 16.",
        statistic=narrowing, sources=("he2015", "glorot2010"),
        scale="log ratio", support=math.log(2), refute=math.log(1.25), unit="times",
    ),
    _claim(
        id="initialization-five-decades",
        statement="With BN a plain network trains at every scale in five decades around He's.",
        prediction="The band covers more than 95% of them at depths 2, 8 and 16.",
        statistic=coverage, support=95.0, refute=90.0, unit="%",
    ),
    _claim(
        id="initialization-rate-squared",
        statement="With the hidden weights' rate times scale squared BN's upper edge moves out.",
        prediction="It lies at least one decade higher: large weights only mean a small rate.",
        statistic=partial(contrast, base="bn", treated=SQUARED, what="high", depths=[8]),
        sources=("arora2019", "hoffer2018"),
    ),
    _claim(
        id="initialization-skip-width",
        statement="In a network with skips, too, the band is wider with BN than without.",
        prediction="It is wider by at least one decade.",
        statistic=partial(contrast, base="skip-none", treated="skip-bn", what="width", depths=[8]),
        sources=("desmith2020", "zhang2019fixup"),
    ),
    _claim(
        id="initialization-skip-ceiling",
        statement="In a network with skips BN's band reaches to larger weights.",
        prediction="The upper edge lies at least half a decade higher.",
        statistic=partial(contrast, base="skip-none", treated="skip-bn", what="high", depths=[8]),
        sources=("desmith2020",), support=0.5, refute=0.25,
    ),
    _claim(
        id="initialization-eps-edge", kind="theory", sources=("ioffe2015",),
        statement="At depth 8 BN's lower edge lies 3.22 decades below the plain network's.",
        prediction="By depth / (depth - 2) times log10 of sqrt(eps / (1 - 1/pi)).",
        statistic=partial(_equal, base="none", treated="bn", what="low"),
        support=math.nan, refute=math.nan, expected=EPS_EDGE * 8 / 6, tolerance=0.3,
    ),
    _claim(
        id="initialization-eps-shift", kind="theory", sources=("ioffe2015",),
        statement="With eps 0.001 in place of 0.00001 BN's lower edge moves up by 4/3 decades.",
        prediction="By depth / (depth - 2) times log10 of sqrt(100): the edge goes with eps.",
        statistic=partial(_equal, base="bn", treated=LARGE_EPS, what="low"),
        support=math.nan, refute=math.nan, expected=4 / 3, tolerance=0.3,
    ),
)  # fmt: skip
