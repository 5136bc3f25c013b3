"""Fully connected residual networks, with a normaliser or with an initialisation in its place.

They are built from `torch.nn`'s own layers, as those of `bnlib.lab.models` are.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from bnlib.lab.models import Init, Norm, initialize, normalizer

Branch = Literal["plain", "skipinit", "fixup"]
BRANCHES: tuple[Branch, ...] = ("plain", "skipinit", "fixup")


class Shift(nn.Module):
    """Adds one learned number to all values: (N, C) to (N, C). It starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x + bias."""
        return x + self.bias


class ResidualLinear(nn.Module):
    """A pre-activation block: x + scale * branch(x), shapes (N, width) to (N, width).

    The branch is ``layers`` times [norm, ReLU, linear]. Its scale is 1 in a plain block, a
    learned number that starts at 0 with SkipInit and at 1 with Fixup; Fixup's branch has a
    `Shift` before each ReLU and each linear layer.
    """

    def __init__(self, width: int, layers: int, norm: Norm, branch: Branch) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for _ in range(layers):
            linear = nn.Linear(width, width, bias=branch != "fixup")
            if branch == "fixup":
                parts += [Shift(), nn.ReLU(), Shift(), linear]
            else:
                parts += [normalizer(norm, width, 1), nn.ReLU(), linear]
        self.branch = nn.Sequential(*parts)
        start = torch.zeros(1) if branch == "skipinit" else torch.ones(1)
        self.scale = None if branch == "plain" else nn.Parameter(start)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus the scaled branch."""
        y: Tensor = self.branch(x)
        return x + (y if self.scale is None else self.scale * y)


def residual_mlp(
    depth: int,
    width: int = 100,
    inputs: int = 784,
    classes: int = 10,
    norm: Norm = "none",
    branch: Branch = "plain",
    layers: int = 2,
    init: Init = "he",
) -> nn.Sequential:
    """Return a residual network: linear stem, ``depth`` pre-activation blocks, linear head.

    Parameters
    ----------
    depth : int
        Residual blocks.
    width, inputs, classes : int
        Width of the skip path, number of input features and of outputs.
    norm : str or callable
        Normaliser before each ReLU, as in `bnlib.lab.models.mlp`.
    branch : {"plain", "skipinit", "fixup"}
        ``"skipinit"``: a learned scale per block that starts at 0 (De & Smith, 2020).
        ``"fixup"``: first layers of a branch scaled by depth^(-1/(2 layers - 2)), the last one
        and the head zero, with scalar biases and multipliers (Zhang, Dauphin & Ma, 2019).
    layers : int
        Linear layers per branch.
    init : str or float
        As in `bnlib.lab.models.mlp`.

    Returns
    -------
    nn.Sequential
        Maps (N, inputs) to (N, classes).

    Raises
    ------
    ValueError
        If ``branch`` is unknown, or Fixup is asked for with a normaliser or with one layer
        per branch.
    """
    if branch not in BRANCHES:
        raise ValueError(f"branch must be one of {BRANCHES}, got {branch!r}")
    if branch == "fixup" and (norm != "none" or layers < 2):
        raise ValueError("Fixup takes the place of a normaliser and needs two layers per branch")
    blocks = [ResidualLinear(width, layers, norm, branch) for _ in range(depth)]
    end: list[nn.Module] = [normalizer(norm, width, 1), nn.ReLU(), nn.Linear(width, classes)]
    net = initialize(nn.Sequential(nn.Linear(inputs, width), *blocks, *end), init)
    if branch == "fixup":
        _fixup(net, blocks, layers)
    return net


def _fixup(net: nn.Sequential, blocks: list[ResidualLinear], layers: int) -> None:
    """Scale the weights of initialised branches after Zhang, Dauphin & Ma (2019), section 3.2."""
    scale = len(blocks) ** (-1 / (2 * layers - 2)) if blocks else 1.0
    head = net[-1]
    with torch.no_grad():
        for block in blocks:
            *first, last = [m for m in block.branch if isinstance(m, nn.Linear)]
            for linear in first:
                linear.weight.mul_(scale)
            last.weight.zero_()
        for parameter in head.parameters():
            parameter.zero_()
