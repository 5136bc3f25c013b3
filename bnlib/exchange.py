"""Exchange these layers for PyTorch's in a model, and PyTorch's for these.

The two families differ in their code only. A layer is therefore exchanged by giving the same
object the other class, as PyTorch's lazy layers do once they know their shape: parameters,
buffers, hooks, mode, options, names and everything that refers to the layer stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as _TorchBatchNorm

from bnlib import layers

__all__ = ["from_torch", "to_torch"]

Model = TypeVar("Model", bound=nn.Module)

TO_TORCH: dict[type, type] = {
    layers.BatchNorm1d: nn.BatchNorm1d,
    layers.BatchNorm2d: nn.BatchNorm2d,
    layers.BatchNorm3d: nn.BatchNorm3d,
    layers.LazyBatchNorm1d: nn.LazyBatchNorm1d,
    layers.LazyBatchNorm2d: nn.LazyBatchNorm2d,
    layers.LazyBatchNorm3d: nn.LazyBatchNorm3d,
}
FROM_TORCH = {theirs: ours for ours, theirs in TO_TORCH.items()}


def to_torch(model: Model) -> Model:
    """Make every layer of this package in `model` PyTorch's layer of the same name, in place.

    For tools that compare exact types, such as quantization and the fusion of modules.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or a single layer. Its other layers are left alone.

    Returns
    -------
    torch.nn.Module
        `model` itself. Its layers are the same objects with another class: an optimizer, a
        hook or a second name of a layer goes on referring to it. ``copy.deepcopy`` the model
        first if the original is still wanted.

    Raises
    ------
    TypeError
        If a layer of this package has no counterpart: a ``GhostBatchNorm``, which has virtual
        batches, or a subclass. Nothing has then been exchanged.

    Examples
    --------
    >>> import bnlib
    >>> from torch import nn
    >>> bnlib.to_torch(nn.Sequential(nn.Linear(3, 2), bnlib.BatchNorm1d(2)))[1].__module__
    'torch.nn.modules.batchnorm'
    """
    return _exchange(model, TO_TORCH, lambda m: isinstance(m, layers._BatchNorm), "torch.nn")


def from_torch(model: Model) -> Model:
    """Make every batch normalization layer of PyTorch's in `model` one of this package.

    The way back from ``to_torch``; in place, as there.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or a single layer. Layers of this package are left alone.

    Returns
    -------
    torch.nn.Module
        `model` itself.

    Raises
    ------
    TypeError
        If a layer has no counterpart: a ``SyncBatchNorm`` or a subclass of PyTorch's layers.
        Nothing has then been exchanged.

    Examples
    --------
    >>> import bnlib
    >>> from torch import nn
    >>> type(bnlib.from_torch(nn.Sequential(nn.BatchNorm2d(3)))[0]) is bnlib.BatchNorm2d
    True
    """

    def is_theirs(module: nn.Module) -> bool:
        return isinstance(module, _TorchBatchNorm) and not isinstance(module, layers._BatchNorm)

    return _exchange(model, FROM_TORCH, is_theirs, "bnlib")


def _exchange(
    model: Model, table: Mapping[type, type], wanted: Callable[[nn.Module], bool], home: str
) -> Model:
    found = [(name, module) for name, module in model.named_modules() if wanted(module)]
    for name, module in found:
        if type(module) not in table:
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            place = f"layer {name!r}" if name else "the model itself"
            raise TypeError(
                f"{place} is a {kind}, which has no counterpart in {home}: replace it yourself, "
                "or exchange the layers around it one by one"
            )
    for _, module in found:
        module.__class__ = table[type(module)]
    return model
