"""The stored outputs of the frameworks: complete, within bounds, and still what they do."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import require

from bnlib.evidence.store import load_results, provenance

SCRIPT = Path(__file__).parents[2] / "tools" / "frameworks.py"
NAMES = {"PyTorch", "Keras", "Flax nnx", "Flax linen", "ONNX"}


def part(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["part"] == name]


def test_conversions_are_exact_to_rounding() -> None:
    found = part(load_results("frameworks"), "conversion")
    assert set(found["library"]) == NAMES - {"PyTorch"}
    assert (found["value"] <= 1e-5).all()


def test_every_library_was_asked() -> None:
    conventions = part(load_results("frameworks"), "convention")
    for key in ("momentum", "weight of new", "eps", "variance ratio, images", "plain call uses"):
        assert set(conventions.loc[conventions["key"] == key, "library"]) >= NAMES, key


def test_measured_conventions_are_the_written_ones() -> None:
    table = part(load_results("frameworks"), "convention").pivot_table(
        index="library", columns="key", values="value"
    )
    table = table.loc[sorted(NAMES)]
    new = table["weight of new"]
    assert (((new - table["momentum"]).abs() < 1e-6) | ((1 - new - table["momentum"]) < 1e-6)).all()
    np.testing.assert_allclose(table["eps, measured"], table["eps"], rtol=1e-2)


def test_versions_are_recorded() -> None:
    assert {"torch", "tensorflow-cpu", "keras", "jax", "flax", "onnx", "onnxruntime"} <= set(
        provenance("frameworks")["versions"]
    )


@pytest.mark.frameworks
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the libraries warn about their own insides
def test_the_libraries_still_do_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in ("tensorflow", "keras", "flax", "optax", "onnx", "onnxscript", "onnxruntime"):
            require(module)
    spec = importlib.util.spec_from_file_location("frameworks_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "frameworks_script", script)
    spec.loader.exec_module(script)
    keys = ["part", "library", "key"]
    stored, now = (t.set_index(keys) for t in (load_results("frameworks"), script.compute()))
    assert set(stored.index) == set(now.index)
    now = now.loc[stored.index]
    assert (stored["text"] == now["text"]).all()
    # What rounding decides is compared by its size: conversion errors, variance of large means.
    rough = stored.index.get_level_values("key").str.startswith("variance error")
    rough |= stored.index.get_level_values("part") == "conversion"
    fine = ~rough & stored["value"].notna()
    np.testing.assert_allclose(
        now["value"][fine], stored["value"][fine], rtol=1e-3, atol=1e-5, err_msg="libraries differ"
    )
    assert (now["value"][rough] < 10 * stored["value"][rough] + 1e-5).all()
