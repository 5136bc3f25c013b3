"""The ledger: every claim of the book with its verdict, computed from the stored results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from bnlib.evidence.claims import NOT_RUN, Claim, Judgement, claims_hash, holm_by_chapter, judge
from bnlib.evidence.experiment import Experiment
from bnlib.evidence.store import (
    ResultsError,
    existing_folder,
    has_results,
    load_results,
    provenance,
)
from bnlib.experiments import load_all

COLUMNS = (
    "id", "chapter", "kind", "statement", "sources", "estimate", "ci_low", "ci_high", "p", "n",
    "verdict",
)  # fmt: skip


def ledger(results: Path | str | None = None) -> pd.DataFrame:
    """Return all claims with their verdicts, one row each.

    Parameters
    ----------
    results : path, optional
        Folder of results to judge; by default those that come with the package.

    Returns
    -------
    DataFrame
        Columns id, chapter, kind, statement, sources, estimate, ci_low, ci_high, p (adjusted by
        Holm's method within the chapter), n, verdict; then prediction, unit, experiment and
        edited (whether the claim was changed after the run that judges it). A censored side of
        an interval is infinite, or 0 for a ratio; p is missing where both sides are.
    """
    judgements = judge_all(results)
    p = holm_by_chapter([j for j, _, _ in judgements])
    rows = [_row(j, p.get(j.claim.id, math.nan), name, old) for j, name, old in judgements]
    # A chapter may have several experiments: its claims stand together all the same.
    return pd.DataFrame(rows).sort_values("chapter", kind="stable", ignore_index=True)


def turned(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the claims whose verdicts differ between two ledgers, one row each.

    Returns
    -------
    DataFrame
        Columns id, before, after and broken: whether a reproduction has failed. It has where a
        derived number no longer holds, where a claim was not judged again, and where a measured
        one turned from supported to refuted or back; between these and *inconclusive* or
        *depends* a few other seeds may move a claim.
    """
    both = before.merge(after, on="id", suffixes=("_before", "_after"))
    found = pd.DataFrame(
        {"id": both["id"], "before": both["verdict_before"], "after": both["verdict_after"]}
    )
    flip = {"supported": "refuted", "refuted": "supported"}
    lost = (both["kind_after"] != "empirical") | (found["after"] == NOT_RUN)
    found["broken"] = lost | (found["before"].map(flip) == found["after"])
    return found[found["before"] != found["after"]]


def judgement(claim_id: str, results: Path | str | None = None) -> Judgement:
    """Return one claim with its verdict and strata.

    Raises
    ------
    KeyError
        If there is no such claim.
    """
    for found, _, _ in judge_all(results):
        if found.claim.id == claim_id:
            return found
    raise KeyError(f"there is no claim {claim_id!r}; `bnlib claims` lists them")


def strata(claim_id: str, results: Path | str | None = None) -> pd.DataFrame:
    """Return the strata of a claim as a reader sees them, one row each.

    Returns
    -------
    DataFrame
        Columns stratum, estimate, ci_low, ci_high, p, n, censored, verdict; a log ratio as the
        ratio, a censored side of an interval open (infinite, or 0 for a ratio).
    """
    found = judgement(claim_id, results)
    shown = found.claim.shown
    rows = []
    for row in found.strata.to_dict("records"):
        low, high = _open(row["low"], row["high"], row["censored"])
        rows.append(
            {
                "stratum": row["stratum"],
                "estimate": shown(row["mean"]),
                "ci_low": shown(low),
                "ci_high": shown(high),
                **{key: row[key] for key in ("p", "n", "censored", "verdict")},
            }
        )
    return pd.DataFrame(rows)


def judge_all(results: Path | str | None = None) -> list[tuple[Judgement, str, bool]]:
    """Return every claim's judgement with its experiment's name and whether it was edited."""
    folder = existing_folder(results)
    found = []
    for experiment in load_all():
        found += [(j, experiment.name, old) for j, old in _judged(experiment, folder)]
    return found


@dataclass(frozen=True)
class _Version:
    """The state of an experiment's results: when the file changes they are judged again."""

    folder: Path
    changed: int


def _judged(experiment: Experiment, folder: Path) -> tuple[tuple[Judgement, bool], ...]:
    path = folder / f"{experiment.name}.parquet"
    return _judged_once(
        experiment, _Version(folder, path.stat().st_mtime_ns if path.exists() else 0)
    )


@lru_cache(maxsize=256)
def _judged_once(experiment: Experiment, version: _Version) -> tuple[tuple[Judgement, bool], ...]:
    folder = version.folder
    if not has_results(experiment.name, folder):
        return tuple((judge(claim, None), False) for claim in experiment.claims)
    table = load_results(experiment.name, folder)
    edited = provenance(experiment.name, folder)["claims_hash"] != claims_hash(experiment.claims)
    try:
        return tuple((judge(claim, table), edited) for claim in experiment.claims)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ResultsError(
            f"{folder / experiment.name}.parquet holds other measurements than this version's "
            f"claims ask for ({type(error).__name__}: {error}); run: bnlib run {experiment.name}"
        ) from error


def _row(found: Judgement, p: float, experiment: str, edited: bool) -> dict[str, Any]:
    claim: Claim = found.claim
    e = found.estimate
    low, high = (math.nan, math.nan) if e is None else _open(e.low, e.high, found.censored)
    return {
        "id": claim.id,
        "chapter": claim.chapter,
        "kind": claim.kind,
        "statement": claim.statement,
        "sources": list(claim.sources),
        "estimate": math.nan if e is None else claim.shown(e.mean),
        "ci_low": claim.shown(low),
        "ci_high": claim.shown(high),
        "p": math.nan if found.censored == "both" else p,
        "n": 0 if e is None else e.n,
        "verdict": found.verdict,
        "prediction": claim.prediction,
        "unit": claim.unit,
        "experiment": experiment,
        "edited": edited,
    }


def _open(low: float, high: float, censored: str) -> tuple[float, float]:
    """Open the side of an interval that censored runs say nothing about."""
    if censored in ("low", "both"):
        high = math.inf
    if censored in ("high", "both"):
        low = -math.inf
    return low, high
