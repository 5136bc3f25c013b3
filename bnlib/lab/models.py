"""Small networks in which the normaliser is one argument.

They are built from `torch.nn`'s own layers, so that the bits of an experiment do not
move when the layers of this package are improved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
Norm = str | Callable[[int], nn.Module]
Init = Literal["default", "xavier", "he"] | float

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}
_NORMS: dict[str, dict[int, Callable[[int], nn.Module]]] = {
    "none": {1: lambda _: nn.Identity(), 2: lambda _: nn.Identity()},
    "bn": {1: nn.BatchNorm1d, 2: nn.BatchNorm2d},
    "ln": {1: nn.LayerNorm, 2: lambda c: nn.GroupNorm(1, c)},
    "gn": {1: lambda c: nn.GroupNorm(_groups(c), c), 2: lambda c: nn.GroupNorm(_groups(c), c)},
}


def mlp(
    sizes: Sequence[int],
    norm: Norm = "none",
    activation: str = "relu",
    init: Init = "default",
) -> nn.Sequential:
    """Return a fully connected network: [linear, norm, activation] blocks and a linear head.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output, at least two.
    norm : str or callable
        ``"none"``, ``"bn"``, ``"ln"``, ``"gn"`` or a function from a width to a module.
    activation : str
        ``"relu"``, ``"sigmoid"``, ``"tanh"`` or ``"identity"``.
    init : str or float
        ``"default"`` (PyTorch's), ``"xavier"``, ``"he"``, or the standard deviation of
        zero-mean Gaussian weights. All but the default set biases to zero.

    Returns
    -------
    nn.Sequential
        Maps (N, sizes[0]) to (N, sizes[-1]).

    Raises
    ------
    ValueError
        If a name is unknown or fewer than two sizes are given.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes needs an input and an output width, got {list(sizes)}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(fan_in, fan_out), normalizer(norm, fan_out, 1), act(activation)]
    net = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
    return initialize(net, init)


def convnet(
    channels: Sequence[int],
    classes: int = 10,
    norm: Norm = "none",
    in_channels: int = 1,
    init: Init = "default",
) -> nn.Sequential:
    """Return a plain convolutional network: 3x3 [conv, norm, ReLU] blocks, mean pool, linear head.

    Each block whose width differs from the one before it halves the image.

    Parameters
    ----------
    channels : sequence of int
        Width of each block, at least one.
    classes, in_channels : int
        Outputs and input channels.
    norm, init
        As in `mlp`.

    Returns
    -------
    nn.Sequential
        Maps (N, in_channels, H, W) to (N, classes).
    """
    if not channels:
        raise ValueError("channels needs at least one width")
    layers: list[nn.Module] = []
    previous = in_channels
    for i, width in enumerate(channels):
        stride = 2 if i and width != previous else 1
        layers += [nn.Conv2d(previous, width, 3, stride, 1), normalizer(norm, width, 2), nn.ReLU()]
        previous = width
    net = nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(previous, classes)
    )
    return initialize(net, init)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip: (N, in, H, W) to (N, out, H/stride, W/stride)."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.norm1 = normalizer(norm, fan_out, 2)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.norm2 = normalizer(norm, fan_out, 2)
        same = stride == 1 and fan_in == fan_out
        self.skip = nn.Identity() if same else nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(skip(x) + branch(x))."""
        branch = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.skip(x) + self.norm2(self.conv2(branch)))


def resnet(
    blocks: Sequence[int] = (1, 1, 1),
    width: int = 16,
    classes: int = 10,
    norm: Norm = "bn",
    in_channels: int = 1,
    init: Init = "he",
) -> nn.Sequential:
    """Return a small residual network after He et al. (2016): stages of doubling width.

    Parameters
    ----------
    blocks : sequence of int
        Residual blocks per stage; every stage but the first halves the image.
    width : int
        Channels of the first stage.
    classes, in_channels, norm, init
        As in `convnet`.

    Returns
    -------
    nn.Sequential
        Maps (N, in_channels, H, W) to (N, classes).
    """
    stem = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
    layers: list[nn.Module] = [stem, normalizer(norm, width, 2), nn.ReLU()]
    fan_in = width
    for stage, count in enumerate(blocks):
        fan_out = width * 2**stage
        for i in range(count):
            stride = 2 if stage and i == 0 else 1
            layers.append(ResidualBlock(fan_in, fan_out, stride, norm))
            fan_in = fan_out
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, classes))
    return initialize(net, init)


def normalizer(norm: Norm, width: int, spatial: Literal[1, 2]) -> nn.Module:
    """Return the normaliser ``norm`` for (N, width) if spatial is 1, for (N, width, H, W) if 2."""
    if callable(norm):
        return norm(width)
    if norm not in _NORMS:
        raise ValueError(f"norm must be one of {sorted(_NORMS)} or a function, got {norm!r}")
    return _NORMS[norm][spatial](width)


def act(name: str) -> nn.Module:
    """Return a new activation module by name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]()


def initialize(net: M, init: Init) -> M:
    """Set the weights of all linear and convolutional layers in place; see `mlp` for ``init``."""
    if init == "default":
        return net
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            _initialize_layer(layer, init)
    return net


def _initialize_layer(layer: nn.Linear | nn.Conv2d, init: Init) -> None:
    if init == "xavier":
        nn.init.xavier_normal_(layer.weight)
    elif init == "he":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif isinstance(init, int | float) and math.isfinite(init) and init >= 0:
        nn.init.normal_(layer.weight, 0.0, float(init))
    else:
        raise ValueError(f"init must be 'default', 'xavier', 'he' or a std >= 0, got {init!r}")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _groups(width: int) -> int:
    """Return the largest number of groups up to 32 that divides the width."""
    return math.gcd(width, 32)
