"""Whether runs made again on another processor agree with the stored ones.

Two processors round differently, and training amplifies that: a run repeats its start to many
digits, and its end only as another seed would. So each value is compared with its own stored
value: *tightly* until the runs of its experiment drift apart, *loosely* from there on, by how far
the seeds of the same setting lie apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bnlib.evidence.experiment import Experiment

TIGHT = 1e-4  # of the largest magnitude of the metric in the setting
LOOSE = 2.0  # ranges over the seeds of the setting
FEW = 5  # with fewer seeds than this, the range is that of all settings


@dataclass(frozen=True)
class Agreement:
    """How many values were compared ``tight`` and how many ``loose``, and what differs.

    ``problems`` has one row for each value, or median of later values, that differs: the factors
    of its run, metric, step (missing for a median), value and value_again.
    """

    tight: int
    loose: int
    problems: pd.DataFrame

    def in_words(self) -> str:
        """Return the first problem as a clause, empty if there is none."""
        if self.problems.empty:
            return ""
        row = self.problems.iloc[0]
        place = "median of later steps" if np.isnan(row["step"]) else f"step {row['step']:g}"
        values = f"stored {row['value']:.6g}, found {row['value_again']:.6g}"
        more = f", and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
        return f"{row['metric']} ({place}): {values}{more}"


def compare(
    experiment: Experiment, table: pd.DataFrame, runs: pd.DataFrame, again: pd.DataFrame
) -> Agreement:
    """Compare runs that were made again with what is stored of them.

    Parameters
    ----------
    experiment : Experiment
        Says from which step on its runs drift apart, and which metrics are rounding errors.
    table : DataFrame
        All its stored results, or those of its tuning, in tidy form.
    runs : DataFrame
        The factors of the runs that were made again, ``seed`` among them, one row each.
    again : DataFrame
        What they measured, with the columns of ``table``.

    Notes
    -----
    Tight: a value may be off by 1e-4 of the largest magnitude that its metric has before the drift
    in its setting (all factors but the seed). Loose: the median of a run's later values, metric by
    metric and place by place, may be off by twice the range of those medians over the seeds of the
    setting; where there are fewer than five seeds, over the seeds of all settings, each around its
    mean; and by twice the middle one of all those ranges in any case. A metric that is a rounding
    error may be off by what its experiment declares. What only one of the two has is a difference,
    unless it is late and the seeds disagree on it as well.
    """
    table, again = _with_steps(table), _with_steps(again)
    # One constant factor, so that a setting has one even where a run has nothing but its seed.
    table, runs, again = (t.assign(experiment=experiment.name) for t in (table, runs, again))
    factors = list(runs.columns)
    setting = [name for name in factors if name != "seed"]
    stored = table.merge(runs, on=factors)
    late, stored_late, again_late = (
        rows[_drifts(experiment, rows)] for rows in (table, stored, again)
    )
    places = [*_places(table, factors, setting), "metric"]

    tight = _pairs(stored.drop(stored_late.index), again.drop(again_late.index))
    tight = tight.merge(_least(experiment, table.drop(late.index), setting), how="left")
    tight["agrees"] = tight["both"] & _close(tight, tight["least"])

    keys = [*factors, *places]
    loose = _pairs(_medians(stored_late, keys), _medians(again_late, keys))
    loose = loose.merge(_least(experiment, late, setting), how="left")
    loose = loose.merge(_spread(_medians(late, keys), setting, places), how="left")
    seeds = table.drop_duplicates(factors).groupby(setting, dropna=False).size()
    loose = loose.merge(seeds.rename("seeds").reset_index(), on=setting, how="left")
    disagree = ((loose["n"] > 0) & (loose["n"] < loose["seeds"])) | (loose["seeds"] < FEW)
    allowed = np.fmax(LOOSE * loose["range"], loose["least"])
    loose["agrees"] = _close(loose, allowed).where(loose["both"], disagree)

    problems = pd.concat([rows[~rows["agrees"]] for rows in (tight, loose)], ignore_index=True)
    shown = [*factors, "metric", "step", "value", "value_again"]
    return Agreement(len(tight), len(stored_late), problems.reindex(columns=shown))


def _with_steps(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which what has no step has step 0."""
    return table if "step" in table else table.assign(step=0)


def _drifts(experiment: Experiment, rows: pd.DataFrame) -> pd.Series:
    """Say which rows can be repeated only loosely."""
    return (rows["step"] >= experiment.drifts_from) | rows["metric"].isin(experiment.drifting)


def _places(table: pd.DataFrame, factors: list[str], setting: list[str]) -> list[str]:
    """Return the columns that say where a run looked, such as a layer or a rate.

    A column in which the seeds of a setting differ is no place: it says how far a search went.
    """
    found: list[str] = []
    for name in table.columns.difference([*factors, "metric", "step", "value"], sort=False):
        looked = table.drop_duplicates([*factors, name]).sort_values(name)
        by_run = looked.groupby(factors, dropna=False)[name].agg(lambda x: str(list(x)))
        if by_run.groupby(setting, dropna=False).nunique().max() == 1:
            found.append(str(name))
    return found


def _least(experiment: Experiment, table: pd.DataFrame, setting: list[str]) -> pd.DataFrame:
    """Return per setting and metric how far apart two values may always be: column least."""
    sizes = table.assign(least=TIGHT * table["value"].abs().replace(np.inf, np.nan))
    found = sizes.groupby([*setting, "metric"], dropna=False)["least"].max().reset_index()
    errors = found["metric"].map(experiment.rounding)
    return found.assign(least=np.fmax(found["least"], errors))


def _pairs(stored: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """Return the values of the same factors, place and step side by side, and whether ``both`` are.

    Rows that are alike in all of these are paired in their order.
    """
    keys = [name for name in stored.columns if name != "value"]
    numbered = [t.assign(nth=t.groupby(keys, dropna=False).cumcount()) for t in (stored, again)]
    found = numbered[0].merge(
        numbered[1], on=[*keys, "nth"], how="outer", suffixes=("", "_again"), indicator="both"
    )
    return found.assign(both=found["both"] == "both")


def _medians(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return rows.groupby(keys, dropna=False)["value"].median().reset_index()


def _spread(medians: pd.DataFrame, setting: list[str], places: list[str]) -> pd.DataFrame:
    """Return per setting and place how many seeds have a median there (n), and their range.

    Where there are few seeds it is the range of the deviations from the mean in all settings. It
    is nowhere less than half of all ranges are: seeds may lie close by chance.
    """
    groups = medians.groupby([*setting, *places], dropna=False)["value"]
    found = groups.agg(n="count", low="min", high="max").reset_index()
    own = found["high"] - found["low"]
    deviations = (medians["value"] - groups.transform("mean")).groupby(medians["metric"])
    pooled = found["metric"].map(deviations.max() - deviations.min())
    usual = own.groupby(found["metric"]).transform("median")
    found["range"] = np.fmax(own.where(found["n"] >= FEW, pooled), usual)
    return found.drop(columns=["low", "high"])


def _close(rows: pd.DataFrame, allowed: Any) -> pd.Series:
    """Say which pairs are equal, both missing, or no farther apart than allowed."""
    a, b = rows["value"], rows["value_again"]
    return (a == b) | (a.isna() & b.isna()) | (a - b).abs().le(allowed)
