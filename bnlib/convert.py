r"""State of batch normalization layers to and from Keras and Flax.

The three store the same four vectors under different conventions:

=============  ====================  ======================  ======================
\              PyTorch, and here     Keras                   Flax
=============  ====================  ======================  ======================
scale, shift   weight, bias          gamma, beta             scale, bias
statistics     running_mean, _var    moving_mean, _variance  mean, var
momentum       of the new value, .1  of the old value, .99   of the old value, .99
eps            1e-5                  1e-3                    1e-5
variance       unbiased, n - 1       biased, n               biased, n
channels       axis 1                last axis               last axis
=============  ====================  ======================  ======================

Statistics are copied as they are, so that a converted model gives the same outputs; the
bias of the variance differs only in what further training adds to it. Neither framework
is imported unless a layer of its own is to be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlib.formulas import widen
from bnlib.layers import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = ["flax_options", "from_flax", "from_keras", "to_flax", "to_keras"]

Array = NDArray[Any]
BY_RANK = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d, 5: BatchNorm3d}


def from_keras(
    layer: Any, cls: type[_BatchNorm] | None = None, *, count: int | None = None
) -> _BatchNorm:
    """Turn a Keras ``BatchNormalization`` into a layer that evaluates to the same outputs.

    Parameters
    ----------
    layer : keras.layers.BatchNormalization
        Built, that is, called or given an input shape. Whichever its axis, channels are on
        axis 1 of the result's input.
    cls : type, optional
        Class of the result; by default the one for the rank that `layer` was built for.
    count : int, optional
        Values per channel n in each training batch. If given, the variance is multiplied
        by n / (n - 1), which gives what PyTorch would have recorded; outputs then differ
        from Keras's by that much.

    Returns
    -------
    bnlib.BatchNorm1d, BatchNorm2d or BatchNorm3d
        In the mode of a new module, training. ``num_batches_tracked`` is 0: Keras does not
        count. Where Keras has no gamma, ``weight`` is 1 and frozen. A frozen layer
        (``trainable = False``), which in Keras normalises by its moving statistics whatever
        the call asks for, comes in evaluation mode and with parameters that require no
        gradient; a later ``train()`` of the whole model ends that, so call ``eval()`` on the
        layer after it.

    Raises
    ------
    ValueError
        If `layer` has not been built.
    """
    if not layer.built:
        raise ValueError("the Keras layer has no state yet: build it or call it once")
    state = {
        "weight": layer.gamma if layer.scale else None,
        "bias": layer.beta if layer.center else None,
        "mean": layer.moving_mean,
        "var": layer.moving_variance,
    }
    cls = cls or BY_RANK[layer.input_spec.ndim]
    module = _build(cls, state, layer.momentum, layer.epsilon, count)
    return module if layer.trainable else module.eval().requires_grad_(False)


def to_keras(module: _BatchNorm, *, rank: int | None = None, **options: Any) -> Any:
    """Turn a batch normalization layer into a Keras one that evaluates to the same outputs.

    Parameters
    ----------
    module : bnlib or torch.nn batch normalization layer
        With running statistics.
    rank : int, optional
        Number of axes of the input, to which Keras holds a layer. By default 4 for a
        BatchNorm2d, 5 for a BatchNorm3d and else 2; a sequence model wants 3.
    **options
        Passed on to ``keras.layers.BatchNormalization``, for example ``axis`` (default:
        the last) or ``name``.

    Returns
    -------
    keras.layers.BatchNormalization
        Built, in Keras's own layout (channels last) unless ``axis`` says otherwise. Frozen
        (``trainable = False``) if `module` is in evaluation mode and none of its parameters
        requires a gradient, which is what Keras means by it.

    Raises
    ------
    ValueError
        If `module` has no running statistics, or averages cumulatively (``momentum=None``).
    ModuleNotFoundError
        If Keras is not installed.
    """
    state = _state(module)
    layer = import_module("keras").layers.BatchNormalization(
        momentum=_flip(module.momentum),
        epsilon=module.eps,
        scale=state["weight"] is not None,
        center=state["bias"] is not None,
        **options,
    )
    shape: list[int | None] = [None] * (rank or _rank(module))
    shape[layer.axis] = module.num_features
    layer.build(tuple(shape))
    # Keras fixes the order: gamma, beta, moving mean, moving variance.
    layer.set_weights([value for value in state.values() if value is not None])
    learns = [p for p in module.parameters() if p.requires_grad]
    if "trainable" not in options and not (module.training or learns):
        layer.trainable = False
    return layer


def from_flax(
    source: Any,
    cls: type[_BatchNorm] = BatchNorm2d,
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    count: int | None = None,
) -> _BatchNorm:
    """Turn a Flax ``BatchNorm`` into a layer that evaluates to the same outputs.

    Parameters
    ----------
    source : nnx.BatchNorm or mapping
        An ``nnx`` layer, or of a ``linen`` one the variables
        ``{"params": {"scale", "bias"}, "batch_stats": {"mean", "var"}}``.
    cls : type
        Class of the result.
    momentum, epsilon : float
        The ``linen`` layer's (weight of the old value); an ``nnx`` layer knows its own.
    count : int, optional
        As in ``from_keras``.

    Returns
    -------
    bnlib.BatchNorm1d, BatchNorm2d or BatchNorm3d
        As in ``from_keras``.

    Raises
    ------
    ValueError
        If `source` holds no statistics.
    """
    if isinstance(source, Mapping):
        params, stats = source.get("params", {}), source.get("batch_stats", {})
        state = {"weight": params.get("scale"), "bias": params.get("bias")}
        state |= {"mean": stats.get("mean"), "var": stats.get("var")}
    else:
        momentum, epsilon = source.momentum, source.epsilon
        state = {"weight": source.scale, "bias": source.bias}
        state |= {"mean": source.mean, "var": source.var}
    if state["mean"] is None or state["var"] is None:
        raise ValueError("no statistics: expected batch_stats with mean and var")
    return _build(cls, state, momentum, epsilon, count)


def to_flax(module: _BatchNorm) -> dict[str, dict[str, Array]]:
    """Variables of a Flax ``BatchNorm`` that evaluates to the same outputs.

    Parameters
    ----------
    module : bnlib or torch.nn batch normalization layer
        With running statistics.

    Returns
    -------
    dict
        ``{"params": {"scale", "bias"}, "batch_stats": {"mean", "var"}}`` in NumPy arrays,
        for ``linen.BatchNorm(**flax_options(module)).apply``; absent parameters are left
        out.

    Raises
    ------
    ValueError
        As ``to_keras``.
    """
    state = _state(module)
    params = {"scale": state["weight"], "bias": state["bias"]}
    stats = {name: state[name] for name in ("mean", "var")}
    groups = {"params": params, "batch_stats": stats}
    return {
        group: {name: value for name, value in found.items() if value is not None}
        for group, found in groups.items()
    }


def flax_options(module: _BatchNorm) -> dict[str, float | bool]:
    """Options for the constructor of ``linen.BatchNorm`` or ``nnx.BatchNorm``.

    Parameters
    ----------
    module : bnlib or torch.nn batch normalization layer
        The layer that ``to_flax`` takes.

    Returns
    -------
    dict
        ``momentum`` (weight of the old value), ``epsilon``, ``use_scale``, ``use_bias``.

    Raises
    ------
    ValueError
        If `module` averages cumulatively (``momentum=None``).
    """
    return {
        "momentum": _flip(module.momentum),
        "epsilon": module.eps,
        "use_scale": module.weight is not None,
        "use_bias": module.bias is not None,
    }


def _flip(momentum: float | None) -> float:
    """Turn the weight of the new value into that of the old one, or back."""
    if momentum is None:
        raise ValueError("momentum=None, a cumulative average, has no equivalent there")
    return round(1 - momentum, 12)  # 1 - 0.9 is to be 0.1 again


def _rank(module: _BatchNorm) -> int:
    ranks = {nn.BatchNorm2d: 4, nn.BatchNorm3d: 5}
    return next((rank for cls, rank in ranks.items() if isinstance(module, cls)), 2)


def _state(module: _BatchNorm) -> dict[str, Array | None]:
    """Four vectors in Keras's order."""
    if module.running_mean is None or module.running_var is None:
        raise ValueError("the layer has no running statistics (track_running_stats=False)")
    _flip(module.momentum)
    names = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    vectors = {key: getattr(module, name) for key, name in names.items()}
    # NumPy has no bfloat16, so half precision leaves as float32.
    return {
        key: None if v is None else widen(v.detach()).cpu().numpy().copy()
        for key, v in vectors.items()
    }


def _tensor(value: Any) -> torch.Tensor:
    array = np.array(value)  # a copy: theirs may be read-only
    return torch.from_numpy(array if array.dtype == np.float64 else array.astype(np.float32))


def _build(
    cls: type[_BatchNorm], state: Mapping[str, Any], momentum: float, eps: float, count: int | None
) -> _BatchNorm:
    mean, var = _tensor(state["mean"]), _tensor(state["var"])
    affine = state["weight"] is not None or state["bias"] is not None
    module = cls(len(mean), eps=eps, momentum=_flip(momentum), affine=affine, dtype=mean.dtype)
    values = {"running_mean": mean, "running_var": var}
    if count is not None:
        values["running_var"] = var * (count / (count - 1))
    values |= {k: _tensor(state[k]) for k in ("weight", "bias") if state[k] is not None}
    module.load_state_dict(values, strict=False)
    if affine and state["weight"] is None:
        module.weight.requires_grad_(False)  # no gamma to learn there
    if affine and state["bias"] is None:
        module.register_parameter("bias", None)
    return module
