"""The experiments of the book.

Each is two modules in the folder of its chapter: the protocol, ``NAME.py`` (what is run, and how
it is measured), and ``NAME_claims.py``, what is asserted of it, with the statistics that settle
it. Claims know the protocol; a protocol knows nothing of its claims.
"""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from functools import cache
from importlib import import_module

from bnlib.evidence.experiment import Experiment


def names() -> list[str]:
    """Return the names of all experiments, sorted."""
    return sorted(_modules())


def load(name: str) -> Experiment:
    """Return an experiment, with its claims, by its name.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    modules = _modules()
    if name not in modules:
        raise ValueError(
            f"there is no experiment {name!r}; there are: {', '.join(sorted(modules))}"
        )
    protocol: Experiment = import_module(modules[name]).PROTOCOL
    return replace(protocol, claims=import_module(f"{modules[name]}_claims").CLAIMS)


def load_all() -> list[Experiment]:
    """Return all experiments."""
    return [load(name) for name in names()]


@cache
def _modules() -> dict[str, str]:
    """Return the module of each protocol: one beside which stand its claims."""
    found = {m.name for m in pkgutil.walk_packages(__path__, f"{__name__}.") if not m.ispkg}
    return {name.rpartition(".")[2]: name for name in found if f"{name}_claims" in found}
