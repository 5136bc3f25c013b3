"""What BN's noise, its rate and dropout are worth on small training sets."""

from __future__ import annotations

from functools import partial

import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.experiments.noise.noise_training import final


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy in points, rows (net, seed), one column per arm.

    Arms at the low rate end in ``_low``, those with dropout in ``_drop``; what ends in ``_re``
    has recalibrated statistics.
    """
    found = final(table)
    low, drop = found["part"].eq("low"), found["drop"].gt(0)
    found["arm"] += low.map({True: "_low", False: ""}) + drop.map({True: "_drop", False: ""})
    plain, again = (
        100 * found.pivot_table(index=["net", "seed"], columns="arm", values=value)
        for value in ("accuracy", "recalibrated")
    )
    return plain.join(again.add_suffix("_re"))


def contrast(table: pd.DataFrame, formula: str) -> pd.DataFrame:
    """Return a formula in the columns of `scores`, per network."""
    found = scores(table)
    found["value"] = found.eval(formula)
    return found["value"].reset_index().rename(columns={"net": "stratum"})


def _claim(name: str, formula: str, statement: str, prediction: str, *sources: str) -> Claim:
    return Claim(
        f"noise-{name}", "noise", "empirical", statement, prediction, sources,
        partial(contrast, formula=formula), support=0.5, refute=0.2, unit="points",
    )  # fmt: skip


CLAIMS = (
    _claim("gain", "bn - none",
        "On 1,024 images, each at its own best rate, BN has the higher test accuracy.",
        "It is higher by more than half a point in both networks.", "ioffe2015", "luo2019"),
    _claim("rate", "bn - bn_low",
        "Held at the best rate of the network without it, BN has the lower test accuracy.",
        "It loses more than half a point in both networks.", "bjorck2018"),
    _claim("batch", "bn - quiet",
        "With less noise in its statistics, at the same rate, BN has the lower test accuracy.",
        "With statistics of 512 images it loses more than half a point.", "ioffe2015", "luo2019"),
    _claim("rate-over-noise", "(quiet - quiet_low) - (bn - quiet)",
        "More of BN's test accuracy comes with the larger rate than with the noise of its batches.",
        "The part of the rate is larger by more than half a point.", "bjorck2018"),
    _claim("ghost", "ghost - bn",
        "Ghost batches of 16 raise test accuracy over BN with batches of 128.",
        "They raise it by more than half a point in both networks.", "hoffer2017", "summers2020"),
    _claim("alone", "noise - bn",
        "The noise of ghost batches alone, dealt to random rows, raises test accuracy over BN.",
        "It raises it by more than half a point in both networks.", "ghostnoise"),
    _claim("alone-over-ghost", "noise - ghost",
        "The noise of ghost batches alone has higher test accuracy than ghost batches.",
        "It is higher by more than half a point in both networks.", "ghostnoise"),
    _claim("dropout-need", "(none_drop - none) - (bn_drop - bn)",
        "Dropout gains less test accuracy where there is BN.",
        "Its gain without BN is larger by more than half a point.", "ioffe2015"),
    _claim("dropout-shift", "bn_drop_re - bn_drop",
        "After training with dropout before BN, recalibrated statistics raise test accuracy.",
        "They raise it by more than half a point in both networks.", "li2019disharmony"),
)  # fmt: skip
