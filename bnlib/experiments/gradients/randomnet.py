"""Deep random networks with a part of batch normalization in front of each activation.

They are measured at initialisation and never trained; the backward pass is PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "linear": lambda x: x,
}


class Net(NamedTuple):
    """A random network.

    Attributes
    ----------
    norm, act : str
        What comes before each linear layer: a part of BN (see `normalise`), an activation.
    gain : float
        Variance of the weights times the width.
    batch : int
        Samples in the batch.
    residual : bool
        Whether each layer is added to its input.
    """

    norm: str = "bn"
    act: str = "relu"
    gain: float = 2.0
    batch: int = 128
    residual: bool = False


def propagate(net: Net, z: Tensor, depth: int) -> list[Tensor]:
    """Return the input of each layer's normalisation, z of shape (B, N) first, depth + 1 in all.

    z <- [z +] act(normalise(z)) W with new weights at each layer, drawn from torch's global
    generator. All of them are connected, so that gradients in any of them can be asked for.
    """
    inputs = [z.requires_grad_()]
    for _ in range(depth):
        width = z.shape[1]
        weight = torch.randn(width, width, dtype=z.dtype) * math.sqrt(net.gain / width)
        branch = ACTS[net.act](normalise(z, net.norm)) @ weight
        z = z + branch if net.residual else branch
        inputs.append(z)
    return inputs


def normalise(z: Tensor, kind: str) -> Tensor:
    """Apply a part of BN, at eps = 0 and without affine parameters, to z of shape (B, N).

    Parameters
    ----------
    z : Tensor
        Inputs.
    kind : {"none", "mean", "rms", "std", "bn"}
        ``"mean"`` subtracts the mean of the batch, ``"rms"`` divides by the root mean square
        over the batch, ``"std"`` by the standard deviation, ``"bn"`` subtracts and divides.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind not in ("none", "mean", "rms", "std", "bn"):
        raise ValueError(f"kind must be none, mean, rms, std or bn, got {kind!r}")
    if kind == "none":
        return z
    if kind == "rms":
        return z / z.square().mean(0).sqrt()
    centred = z - z.mean(0)
    if kind == "mean":
        return centred
    scale = centred.square().mean(0).sqrt()
    return (z if kind == "std" else centred) / scale


def cosines(v: Tensor) -> tuple[float, float]:
    """Return the mean cosine of two rows of v, shape (B, N), and the cosines' spread.

    The mean is that of the inner products over that of the squared lengths, the spread the
    standard deviation of the cosines of all pairs.
    """
    gram = (v @ v.T).double()
    length, apart = gram.diagonal(), ~torch.eye(len(v), dtype=torch.bool)
    spread = (gram / torch.outer(length, length).sqrt())[apart].std()
    return (gram[apart].mean() / length.mean()).item(), spread.item()
