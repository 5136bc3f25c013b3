"""From tidy results to one value per run or per seed, as claims take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bnlib.evidence.stats import steps_to


def arrivals(
    table: pd.DataFrame, keys: list[str], target: float, chance: float = 0.1
) -> pd.DataFrame:
    """Return per run when its test accuracy first reached ``target``.

    A run that diverged before its first evaluation never arrives: it is late at the last
    evaluation of any run.

    Parameters
    ----------
    table : DataFrame
        Tidy results with columns ``keys``, step, metric and value.
    keys : list of str
        Factors that tell one run from another.
    target : float
        Accuracy to reach.
    chance : float
        Accuracy of a run that diverged before its first evaluation.

    Returns
    -------
    DataFrame
        The keys, ``steps``, ``censored`` (see `steps_to`) and ``best``, the highest accuracy.
    """
    rows = []
    scores = table[table["metric"] == "accuracy"]
    lost = table[table["metric"] == "diverged"].assign(step=scores["step"].max(), value=chance)
    never = lost.merge(scores[keys].drop_duplicates(), on=keys, how="left", indicator=True)
    scores = pd.concat([scores, never[never["_merge"] == "left_only"]])
    for factors, curve in scores.groupby(keys, sort=False):
        steps, censored = steps_to(curve["step"], curve["value"], target)
        rows.append([*factors, steps, censored, curve["value"].max()])
    return pd.DataFrame(rows, columns=[*keys, "steps", "censored", "best"])


def final_accuracy(table: pd.DataFrame, keys: list[str], chance: float = 0.1) -> pd.DataFrame:
    """Return per run the mean accuracy over its last evaluations, chance where it diverged.

    Parameters
    ----------
    table : DataFrame
        Tidy results with columns ``keys``, part, step, metric and value. The last evaluations
        are those in the last fifth of the longest run of the same part.
    keys : list of str
        Factors that tell one run from another, part among them.
    chance : float
        Accuracy of a run that diverged.

    Returns
    -------
    DataFrame
        The keys, ``accuracy`` and ``diverged``.
    """
    last = table.groupby("part")["step"].transform("max")
    lost = table["metric"] == "diverged"
    late = (table["metric"] == "accuracy") & (table["step"] >= 0.8 * last)
    rows = table.assign(accuracy=table["value"], diverged=lost.astype(float))[late | lost]
    found = rows.groupby(keys)[["accuracy", "diverged"]].mean().reset_index()
    gone = found["diverged"] > 0
    return found.assign(accuracy=found["accuracy"].mask(gone, chance), diverged=gone)


def best_rates(table: pd.DataFrame, arms: list[str], value: str) -> dict[str, float]:
    """Return per arm the learning rate whose mean ``value`` over all other columns is highest.

    Parameters
    ----------
    table : DataFrame
        One row per tuning run: the columns ``arms``, ``lr`` and ``value``.
    arms : list of str
        Factors that tell the arms apart.
    value : str
        The column that is to be large.

    Returns
    -------
    dict
        The rate by the arm's levels, joined by "/".
    """
    names = table[arms].astype(str).agg("/".join, axis=1)
    best = table[value].groupby([names, table["lr"]]).mean().groupby(level=0).idxmax()
    return {str(name): float(rate) for name, rate in best}


def fastest_rates(table: pd.DataFrame, arms: list[str], target: float) -> dict[str, float]:
    """Return per arm the learning rate with the fewest steps to a test accuracy; see `best_rates`.

    Steps are averaged as logarithms over the seeds. A run that never arrives ranks behind all
    that do, the nearer ones first.
    """
    found = arrivals(table, [*arms, "lr", "seed"], target)
    cost = np.log(found["steps"]) + found["censored"] * 10 * (target - found["best"])
    return best_rates(found.assign(speed=-cost), arms, "speed")


def worst(table: pd.DataFrame, metric: str, part: str | None = None) -> pd.DataFrame:
    """Return the largest value of a metric per seed, as a claim takes it.

    Parameters
    ----------
    table : DataFrame
        Tidy results with columns metric, seed and value, and part where ``part`` is given.
    metric : str
        The metric; such claims speak of errors, which are not negative.
    part : str, optional
        Only this part of the experiment; by default all of it.

    Returns
    -------
    DataFrame
        Columns seed and value.
    """
    rows = table[table["metric"] == metric]
    if part is not None:
        rows = rows[rows["part"] == part]
    return rows.groupby("seed")["value"].max().reset_index()


def paired(
    table: pd.DataFrame,
    arm: str,
    base: str,
    treated: str,
    strata: Sequence[str] = (),
    value: str = "value",
) -> pd.DataFrame:
    """Return by how much one arm exceeds another on the same seed, as a claim takes it.

    Parameters
    ----------
    table : DataFrame
        One row per run: columns ``arm``, ``seed``, ``value`` and those of ``strata``.
    arm : str
        The column that tells the arms apart.
    base, treated : str
        The two arms; the result is treated minus base.
    strata : sequence of str
        Factors whose levels are compared separately.
    value : str
        The column that is compared.

    Returns
    -------
    DataFrame
        Columns seed, value and, with strata, stratum: their names and levels in words. A seed
        that one of the arms lacks is left out.

    Raises
    ------
    ValueError
        If two rows share arm, seed and strata: their mean would be a silent choice.
    """
    keys = [*strata, "seed"]
    if table.duplicated([arm, *keys]).any():
        raise ValueError(f"needs one row per {', '.join([arm, *keys])}; average or select first")
    wide = table.pivot_table(index=keys, columns=arm, values=value)
    rows: pd.DataFrame = (wide[treated] - wide[base]).dropna().rename("value").reset_index()
    if strata:
        levels = rows[list(strata)].to_dict("records")
        rows["stratum"] = [", ".join(f"{k} {v}" for k, v in level.items()) for level in levels]
    return rows[["seed", "value", *(["stratum"] if strata else [])]]


def log_ratio(base: pd.DataFrame, treated: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """Return the log ratio of steps, base / treated, of runs that agree in the columns ``on``.

    Where the base never arrived the true ratio is at least the value (``censored`` is "low");
    where the treated one did not, at most ("high"); where neither did, nothing is known
    ("both"). No pair is left out.
    """
    both = base.merge(treated, on=on, suffixes=("_base", "_treated"), validate="one_to_one")
    kinds = {(False, False): "", (True, False): "low", (False, True): "high", (True, True): "both"}
    pairs = zip(both["censored_base"], both["censored_treated"], strict=True)
    value = np.log(both["steps_base"] / both["steps_treated"])
    return both[on].assign(value=value, censored=[kinds[pair] for pair in pairs])
