"""The one rule for the fast path: who may run kernels in blocks, in place.

``bnlib.blocked`` writes into scratch memory and cuts its work by the size of the input. What
records, batches or transforms operations would keep the blocks, or stumble over them. So
blocks are for plain tensors in plain eager execution, and everything else gets the formulas
or PyTorch's own operator.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

__all__ = ["batched", "plain", "transformed"]


def plain(*tensors: Tensor | None) -> bool:
    """Whether operations on `tensors` are only computed, here and now.

    False while a compiler or an exporter (``torch.compile``, ``torch.export``), a tracer
    (``torch.jit.trace``, the TorchScript ONNX exporter), any ``__torch_dispatch__`` mode
    (``make_fx``, fake tensors, counters of operations), ``torch.func`` or a batched gradient
    (``vmap``, ``grad``, ``jvp``, ``is_grads_batched``) or forward-mode differentiation is at
    work, and for tensors of a subclass or without memory of their own (``meta``).

    Parameters
    ----------
    *tensors : Tensor or None
        All that a kernel is going to touch.

    Returns
    -------
    bool
        True if a kernel may work in place, in blocks, and look at values.
    """
    return not (
        torch.compiler.is_compiling()
        or transformed()
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or not all(t is None or _is_plain(t) for t in tensors)
    )


def _is_plain(t: Tensor) -> bool:
    """Whether `t` is no subclass, has memory, and is not batched by ``is_grads_batched``."""
    known = type(t) is Tensor or type(t) is nn.Parameter
    return known and not (t.is_meta or torch._C._functorch.is_legacy_batchedtensor(t))


def transformed() -> bool:
    """Whether ``torch.func``, a batched gradient or forward mode is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def batched(t: Tensor) -> set[int]:
    """Levels of ``vmap`` over which `t` holds one value per member of the batch."""
    levels: set[int] = set()
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return levels
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(t):
        if functorch.is_batchedtensor(t):
            levels.add(functorch.maybe_get_level(t))
        t = functorch.get_unwrapped(t)
    return levels
