"""What depth costs a network, with and without BN, with and without skips."""

from __future__ import annotations

from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import paired
from bnlib.experiments.gradients.gradients_depth import DEPTHS, final


def gain(table: pd.DataFrame, part: str, base: str, treated: str) -> pd.DataFrame:
    """Return by how much the treated arm's final loss is lower, per depth."""
    found = final(table[table["part"] == part]).assign(value=lambda t: -t["value"])
    return paired(found, "arm", base, treated, strata=("depth",))


def cost_of_depth(table: pd.DataFrame) -> pd.DataFrame:
    """Return by how much the final loss is higher at the largest than at the smallest depth."""
    found = final(table).query("part == 'depth' and arm != 'none'")
    found["stratum"] = found["arm"].map({"bn": "plain", "residual": "residual"})
    wide = found.pivot_table(index=["stratum", "seed"], columns="depth", values="value")
    return (wide[DEPTHS[-1]] - wide[DEPTHS[0]]).rename("value").reset_index()


_claim = partial(
    Claim, chapter="gradients", kind="empirical", unit="nats", support=0.1, refute=0.05
)
CLAIMS = (
    _claim(
        id="gradients-depth-plain", sources=("ioffe2015", "yang2019"),
        statement="In a plain network, each arm at its best rate, BN lowers the training loss.",
        prediction="After 200 steps it is lower by more than 0.1 nats at each depth.",
        statistic=partial(gain, part="depth", base="none", treated="bn"),
    ),
    _claim(
        id="gradients-depth-skip", sources=("desmith2020", "yang2019"),
        statement="In a network with BN, each arm at its best rate, a skip path lowers the loss.",
        prediction="After 200 steps it is lower by more than 0.1 nats at each depth.",
        statistic=partial(gain, part="depth", base="bn", treated="residual"),
    ),
    _claim(
        id="gradients-depth-cost", sources=("yang2019", "desmith2020"),
        statement="With BN a network of 40 layers trains as well as one of 10.",
        prediction="After 200 steps its loss is higher by less than 0.1 nats.",
        statistic=cost_of_depth, support=0.1, refute=0.2,
    ),
    _claim(
        id="gradients-depth-long", sources=("ioffe2015", "yang2019"),
        statement="Given 800 steps, BN lowers the training loss of a plain 40-layer network.",
        prediction="It is lower by more than 0.1 nats.",
        statistic=partial(gain, part="long", base="none", treated="bn"),
    ),
)  # fmt: skip
