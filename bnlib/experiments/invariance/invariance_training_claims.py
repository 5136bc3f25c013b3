"""What decay of scale-invariant weights does beyond setting their effective rate."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import paired
from bnlib.experiments.invariance.invariance_training import final


def gain(table: pd.DataFrame, part: str, base: str, treated: str) -> pd.DataFrame:
    """Return by how many percentage points the test accuracy of one arm is higher."""
    found = final(table, part, "accuracy").rename(columns={"lr": "rate"})
    found["value"] *= 100
    return paired(found, "arm", base, treated, ["rate"] if part == "equal" else [])


def loss_ratio(table: pd.DataFrame, part: str, base: str, treated: str) -> pd.DataFrame:
    """Return the log ratio of the test losses of two arms, base over treated."""
    found = final(table, part, "test loss")
    found["value"] = -np.log(found["value"])
    return paired(found, "arm", base, treated)


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log of the squared length's growth without decay, per rate."""
    rows = pd.concat(
        [final(table, part, "growth").assign(part=part) for part in ("equal", "accuracy")]
    )
    rows = rows[rows["arm"] == "none"]
    names = np.where(rows["part"] == "accuracy", "its best rate", "rate " + rows["lr"].astype(str))
    return rows.assign(value=np.log(rows["value"]), stratum=names)[["seed", "value", "stratum"]]


def epsilon_share(table: pd.DataFrame) -> pd.DataFrame:
    """Return epsilon's share of the variance, in per cent, after training with decay."""
    rows = final(table, "loss", "epsilon share").query("arm == 'decay'")
    return rows.assign(value=100 * rows["value"])[["seed", "value"]]


_claim = partial(Claim, chapter="invariance", kind="empirical")
_points = partial(_claim, support=0.5, refute=0.3, unit="points")
_times = partial(
    _claim, scale="log ratio", unit="times", support=math.log(1.1), refute=math.log(1.05)
)
CLAIMS = (
    _points(
        id="invariance-decay-equal", sources=("vanlaarhoven2017",),
        statement="At the same rates decay of scale-invariant weights raises test accuracy.",
        prediction="It raises it by half a percentage point or more at both rates.",
        statistic=partial(gain, part="equal", base="none", treated="decay"),
    ),
    _points(
        id="invariance-decay-best", sources=("vanlaarhoven2017", "hoffer2018"),
        statement="At each arm's best rate decay of invariant weights raises test accuracy.",
        prediction="It raises it by half a percentage point or more.",
        statistic=partial(gain, part="accuracy", base="none", treated="decay"),
    ),
    _times(
        id="invariance-decay-loss", sources=("vanlaarhoven2017", "hoffer2018"),
        statement="At each arm's most accurate rate decay of invariant weights lowers test loss.",
        prediction="Test loss without decay is at least 1.1 times that with it.",
        statistic=partial(loss_ratio, part="accuracy", base="none", treated="decay"),
    ),
    _times(
        id="invariance-beyond-schedule", sources=("li2020",),
        statement="Decay of invariant weights ends at a lower test loss than its growing rate.",
        prediction="If decay also regularises, at least 1.1 times lower.",
        statistic=partial(loss_ratio, part="loss", base="schedule", treated="decay"),
    ),
    _times(
        id="invariance-beyond-length", sources=("vanlaarhoven2017", "hoffer2018"),
        statement="Decay of invariant weights ends at a lower test loss than a fixed length.",
        prediction="If it does more than hold the effective rate up, at least 1.1 times lower.",
        statistic=partial(loss_ratio, part="loss", base="sphere", treated="decay"),
    ),
    _times(
        id="invariance-rest", sources=("vanlaarhoven2017",),
        statement="Decay of the head, gamma, beta and the biases alone lowers test loss.",
        prediction="At the same rates test loss without it is at least 1.1 times that with it.",
        statistic=partial(loss_ratio, part="accuracy", base="none", treated="rest"),
    ),
    _times(
        id="invariance-rate-falls", sources=("arora2019", "hoffer2018"),
        statement="Without decay the growth of weights at least halves the effective rate.",
        prediction="Squared lengths more than double during training, whatever the rate.",
        statistic=growth, support=math.log(2), refute=math.log(1.25),
    ),
    _claim(
        id="invariance-epsilon-bites", sources=("arora2019",),
        statement="Decay shrinks invariant weights until epsilon takes part in the variance.",
        prediction="Epsilon's share of it ends above one per cent.",
        statistic=epsilon_share, support=1.0, refute=0.1, unit="per cent",
    ),
)  # fmt: skip
