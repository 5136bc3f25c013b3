"""From claim to verdict: what is asserted, what would settle it, and what the runs say.

A claim is declared beside its experiment before the experiment is run. Its verdict is
computed from the stored results and never typed.

- *supported*: the 95% interval lies beyond the support threshold;
- *refuted*: it lies on the other side of the refutation threshold, the smallest effect
  that matters;
- *depends*: declared strata come out differently;
- *inconclusive*: anything else;
- *not run*: there is no result, or fewer than five seeds.

Exact and theory claims have an expected value and a tolerance instead, and no p.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from bnlib.evidence.codehash import digest, statistic_source
from bnlib.evidence.stats import MIN_SEEDS, Estimate, holm, paired_t

Kind = Literal["exact", "theory", "empirical"]
Verdict = Literal["supported", "refuted", "depends", "inconclusive", "not run"]
Scale = Literal["difference", "log ratio"]

NOT_RUN: Verdict = "not run"


@dataclass(frozen=True)
class Claim:
    """One assertion and the rule that settles it.

    Attributes
    ----------
    id : str
        Unique name, also its address in the ledger.
    chapter : str
        File name of the chapter that tests it.
    kind : {"exact", "theory", "empirical"}
        An identity, a derived number or a measured effect.
    statement : str
        One sentence that is true or false.
    prediction : str
        What its proponents would expect to see.
    sources : tuple of str
        Keys of the bibliography.
    statistic : callable, optional
        Takes the results of the experiment, returns one row per seed with columns ``seed``,
        ``value`` and, where declared, ``stratum`` and ``censored`` ("", "low": the true value
        is at least this, "high": at most, "both": nothing is known). A log ratio is given as
        its natural logarithm. None while the experiment does not exist.
    support, refute : float
        Thresholds in the scale of ``value``. Support above refute means that large values
        support the claim, and the other way round.
    expected, tolerance : float
        For exact and theory claims: the value and the allowed distance from it.
    scale : {"difference", "log ratio"}
        How ``value`` is shown; a log ratio is shown as the ratio.
    unit : str
        Unit of what is shown.
    """

    id: str
    chapter: str
    kind: Kind
    statement: str
    prediction: str
    sources: tuple[str, ...]
    statistic: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    support: float = math.nan
    refute: float = math.nan
    expected: float = math.nan
    tolerance: float = math.nan
    scale: Scale = "difference"
    unit: str = ""

    def __post_init__(self) -> None:
        """Refuse a claim that nothing could settle."""
        if self.statistic is None:
            return
        if self.kind == "empirical":
            if math.isnan(self.support) or math.isnan(self.refute) or self.support == self.refute:
                raise ValueError(f"claim {self.id} needs a support and another refute threshold")
        elif math.isnan(self.expected) or not self.tolerance >= 0:
            raise ValueError(f"claim {self.id} needs an expected value and a tolerance")

    def shown(self, value: float) -> float:
        """Return a value of the statistic as a reader sees it: a log ratio as a ratio."""
        return math.exp(value) if self.scale == "log ratio" else value


@dataclass(frozen=True)
class Judgement:
    """A claim with its verdict.

    ``estimate`` is None where nothing was run. ``strata`` has one row per stratum with columns
    stratum, mean, low, high, p, n, censored, verdict, in the scale of the statistic; its
    intervals are simultaneous (Bonferroni), since each of them may decide the verdict.
    """

    claim: Claim
    verdict: Verdict
    estimate: Estimate | None = None
    strata: pd.DataFrame = field(default_factory=pd.DataFrame)
    censored: str = ""


def judge(claim: Claim, results: pd.DataFrame | None) -> Judgement:
    """Return the verdict on a claim, given its experiment's results (None: not run)."""
    if results is None or claim.statistic is None:
        return Judgement(claim, NOT_RUN)
    values = claim.statistic(results)
    if values.empty or values["seed"].nunique() < MIN_SEEDS:
        return Judgement(claim, NOT_RUN)
    if claim.kind != "empirical":
        return _judge_number(claim, values)
    values = values.assign(
        stratum=values.get("stratum", "all"), censored=values.get("censored", "")
    )
    strata = _judge_strata(claim, values)
    if strata.empty:
        return Judgement(claim, NOT_RUN)
    verdicts = list(dict.fromkeys(strata["verdict"]))
    verdict: Verdict = verdicts[0] if len(verdicts) == 1 else "depends"
    # One number for the whole claim: each seed's mean over the strata, then over the seeds.
    overall = paired_t(values.groupby("seed")["value"].mean())
    return Judgement(claim, verdict, overall, strata, _union(values["censored"]))


def holm_by_chapter(judgements: list[Judgement]) -> dict[str, float]:
    """Return each empirical claim's p, adjusted by Holm's method within its chapter."""
    chapters: dict[str, list[Judgement]] = {}
    for j in judgements:
        if j.estimate is not None and j.claim.kind == "empirical":
            chapters.setdefault(j.claim.chapter, []).append(j)
    adjusted: dict[str, float] = {}
    for group in chapters.values():
        p = holm([j.estimate.p for j in group if j.estimate is not None])
        adjusted.update({j.claim.id: value for j, value in zip(group, p, strict=True)})
    return adjusted


def claims_hash(claims: tuple[Claim, ...]) -> str:
    """Return a hash of all that may settle the claims: statements, thresholds, statistics.

    It is stored with the results, so that a threshold edited afterwards shows.
    """
    rows = [
        [
            c.id, c.kind, c.statement, c.support, c.refute, c.expected, c.tolerance, c.scale,
            "" if c.statistic is None else statistic_source(c.statistic),
        ]
        for c in claims
    ]  # fmt: skip
    return digest(json.dumps(rows))


def _judge_number(claim: Claim, values: pd.DataFrame) -> Judgement:
    """Judge an exact claim by its worst seed, a theory claim by its mean."""
    found = values["value"].to_numpy(float)
    estimate = paired_t(found, null=claim.expected)
    estimate = Estimate(estimate.mean, estimate.low, estimate.high, math.nan, estimate.n)
    error = np.abs(found - claim.expected)
    distance = error.max() if claim.kind == "exact" else abs(found.mean() - claim.expected)
    return Judgement(claim, "supported" if distance <= claim.tolerance else "refuted", estimate)


def _judge_strata(claim: Claim, values: pd.DataFrame) -> pd.DataFrame:
    groups = values.groupby("stratum", sort=False)
    level = 1 - 0.05 / groups.ngroups
    rows = []
    for stratum, group in groups:
        if len(group) < MIN_SEEDS:
            continue
        censored = _union(group["censored"])
        e = paired_t(group["value"], level=level)
        verdict = _verdict(claim, e, censored)
        rows.append([stratum, e.mean, e.low, e.high, e.p, e.n, censored, verdict])
    columns = ["stratum", "mean", "low", "high", "p", "n", "censored", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _verdict(claim: Claim, found: Estimate, censored: str) -> Verdict:
    """Compare an interval with the thresholds; a censored side of it is open.

    A lower bound can show that an effect is large, never that it is small.
    """
    low = -math.inf if censored in ("high", "both") else found.low
    high = math.inf if censored in ("low", "both") else found.high
    if claim.support > claim.refute:
        supported, refuted = low > claim.support, high < claim.refute
    else:
        supported, refuted = high < claim.support, low > claim.refute
    return "supported" if supported else "refuted" if refuted else "inconclusive"


def _union(censored: pd.Series) -> str:
    kinds = set(censored) - {""}
    if not kinds:
        return ""
    return kinds.pop() if len(kinds) == 1 else "both"
