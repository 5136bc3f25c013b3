"""Batch normalization, claim by claim: layers, experiments and the statistics behind the book.

The names below are loaded when first used, so that ``import bnlib`` and the layers
cost no more than ``import torch``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnlib import functional
    from bnlib.book.ledger import ledger
    from bnlib.convert import flax_options, from_flax, from_keras, to_flax, to_keras
    from bnlib.evidence.store import load_results
    from bnlib.exchange import from_torch, to_torch
    from bnlib.lab.data import cifar10, digits, fashion_mnist
    from bnlib.lab.models import convnet, mlp, resnet
    from bnlib.layers import (
        BatchNorm1d,
        BatchNorm2d,
        BatchNorm3d,
        GhostBatchNorm,
        LazyBatchNorm1d,
        LazyBatchNorm2d,
        LazyBatchNorm3d,
    )

__version__ = "0.1.0"

_HOME = {
    "BatchNorm1d": "layers",
    "BatchNorm2d": "layers",
    "BatchNorm3d": "layers",
    "GhostBatchNorm": "layers",
    "LazyBatchNorm1d": "layers",
    "LazyBatchNorm2d": "layers",
    "LazyBatchNorm3d": "layers",
    "cifar10": "lab.data",
    "convnet": "lab.models",
    "digits": "lab.data",
    "fashion_mnist": "lab.data",
    "flax_options": "convert",
    "from_flax": "convert",
    "from_keras": "convert",
    "from_torch": "exchange",
    "ledger": "book.ledger",
    "load_results": "evidence.store",
    "mlp": "lab.models",
    "resnet": "lab.models",
    "to_flax": "convert",
    "to_keras": "convert",
    "to_torch": "exchange",
}

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GhostBatchNorm",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "cifar10",
    "convnet",
    "digits",
    "fashion_mnist",
    "flax_options",
    "from_flax",
    "from_keras",
    "from_torch",
    "functional",
    "ledger",
    "load_results",
    "mlp",
    "resnet",
    "to_flax",
    "to_keras",
    "to_torch",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"bnlib.{_HOME[name]}"), name)
    if name == "functional":
        return import_module("bnlib.functional")
    raise AttributeError(f"module 'bnlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
