"""Whether large rates are worth anything at small batches."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from bnlib.evidence.claims import Claim
from bnlib.evidence.tables import paired
from bnlib.experiments.learning_rate.learning_rate_batch import LARGE, SMALL, TRAINS, scores


def gap(table: pd.DataFrame) -> pd.DataFrame:
    """Return by how many points BN ends higher than SkipInit, both at their best rates."""
    found = scores(table).query("lr == best")
    return paired(found.assign(value=100 * found["accuracy"]), "arm", "skipinit", "bn", ["batch"])


def gap_at(table: pd.DataFrame, batch: int) -> pd.DataFrame:
    """Return the gap at one batch size."""
    return gap(table[table["batch"] == batch])


def gap_growth(table: pd.DataFrame) -> pd.DataFrame:
    """Return by how many points the gap at the large batch exceeds that at the small one."""
    both = gap(table).rename(columns={"stratum": "batch"})
    return paired(both.assign(arm=both["batch"]), "arm", f"batch {SMALL}", f"batch {LARGE}")


def unused(table: pd.DataFrame) -> pd.DataFrame:
    """Return the log ratio of the largest rate that trains to the best, at the small batch."""
    found = scores(table[table["batch"] == SMALL])
    trained = found[found["accuracy"] >= TRAINS].groupby(["arm", "seed"])[["lr", "best"]].max()
    value = np.log(trained["lr"].div(trained["best"]))
    rows = trained.assign(value=value).reset_index()
    return rows.assign(stratum=rows["arm"])


_claim = partial(Claim, chapter="learning-rate", kind="empirical", sources=("desmith2020",),
                 support=1.0, refute=0.5, unit="points")  # fmt: skip
CLAIMS = (
    _claim(
        id="learning-rate-small-batch",
        statement="At batch 16 and best rates, BN ends no higher than SkipInit.",
        prediction="It ends less than half a point higher.",
        statistic=partial(gap_at, batch=SMALL), support=0.5, refute=1.0,
    ),
    _claim(
        id="learning-rate-large-batch",
        statement="The advantage of BN over SkipInit is larger at batch 1024 than at batch 16.",
        prediction="It is larger by at least one point, for equally many images.",
        statistic=gap_growth,
    ),
    _claim(
        id="learning-rate-unused",
        statement="At batch 16 the best rate is far below the largest that trains.",
        prediction="It is less than a quarter of it, with BN and with SkipInit.",
        statistic=unused, scale="log ratio", support=math.log(4), refute=math.log(2), unit="times",
    ),
)  # fmt: skip
