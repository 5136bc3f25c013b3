"""What all tests share: how a missing tool is skipped by name, and quiet, repeatable runs."""

from __future__ import annotations

import importlib
import os
import shutil
from types import ModuleType
from typing import NoReturn

import pytest
from hypothesis import settings

# The same examples on every machine; a failure seen once can be seen again.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def lacks(name: str) -> NoReturn:
    """Skip the test because the machine lacks something; with CI=true that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"this machine lacks {name}, which CI must have")
    pytest.skip(f"this machine lacks {name}")


def require(module: str) -> ModuleType:
    """Return a module, or skip the test by the module's name (with CI=true: fail)."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        lacks(f"the Python module {module}")


def require_program(*names: str) -> str:
    """Return the path of the first program that exists, or skip the test by its name."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    lacks(f"the program {names[0]}")
