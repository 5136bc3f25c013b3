"""What an experiment is: a protocol, and what its results are judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bnlib.evidence.claims import Claim

Tuned = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """A protocol.

    Attributes
    ----------
    name, title, chapter : str
        Name on the command line, one line about it, and the chapter that reports it.
    seeds : range
        Seeds of the committed results, fixed before the run.
    runs : callable
        ``runs(seeds, tuned)`` returns all runs as frozen data classes.
    measure : callable
        ``measure(run)`` returns the tidy measurements; a pure function of the run.
    core_minutes : float
        Rough cost with the committed seeds, shown before anything is run.
    tuning : callable, optional
        ``tuning()`` returns the runs, on seeds and data of their own, that rates are chosen from.
    choose : callable, optional
        ``choose(table)`` returns the chosen rates from the tuning runs' measurements.
    drifts_from : float
        First step whose values another processor repeats only loosely, because training has
        amplified rounding errors by then; 0 if nothing is repeated tightly, infinite if all is.
    drifting : tuple of str
        Metrics that even before it are repeated only loosely: they look beyond the kinks of the
        loss, or come from an iteration that need not have converged.
    rounding : mapping
        Metrics that are rounding errors, or that end in them: by how much each may be off.
    timed : bool
        Whether the values are timings, which no second run repeats to the bit.
    claims : tuple of Claim
        What the experiment judges; `load` takes it from ``NAME_claims.py``.
    """

    name: str
    title: str
    chapter: str
    seeds: range
    runs: Callable[[Sequence[int], Tuned], list[Any]]
    measure: Callable[[Any], pd.DataFrame]
    core_minutes: float
    tuning: Callable[[], list[Any]] | None = None
    choose: Callable[[pd.DataFrame], Tuned] | None = None
    drifts_from: float = 1
    drifting: tuple[str, ...] = ()
    rounding: Mapping[str, float] = field(default_factory=dict, hash=False)
    timed: bool = False
    claims: tuple[Claim, ...] = ()
