"""The experiments of the book: each module one protocol, its runs, its measurement, its claims."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pandas as pd

from bnlib.claims import Claim

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
    claims : tuple of Claim
        What the experiment judges.
    core_minutes : float
        Rough cost with the committed seeds, shown before anything is run.
    tuning : callable, optional
        ``tuning()`` returns the runs, on seeds and data of their own, that rates are chosen from.
    choose : callable, optional
        ``choose(table)`` returns the chosen rates from the tuning runs' measurements.
    timed : bool
        Whether the values are timings, which no second run repeats to the bit.
    """

    name: str
    title: str
    chapter: str
    seeds: range
    runs: Callable[[Sequence[int], Tuned], list[Any]]
    measure: Callable[[Any], pd.DataFrame]
    claims: tuple[Claim, ...]
    core_minutes: float
    tuning: Callable[[], list[Any]] | None = None
    choose: Callable[[pd.DataFrame], Tuned] | None = None
    timed: bool = False


def names() -> list[str]:
    """Return the names of all experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in names():
        raise ValueError(f"there is no experiment {name!r}; there are: {', '.join(names())}")
    experiment: Experiment = import_module(f"{__name__}.{name}").EXPERIMENT
    return experiment


def load_all() -> list[Experiment]:
    """Return all experiments."""
    return [load(name) for name in names()]
