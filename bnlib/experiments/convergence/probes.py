"""How the inputs of the last hidden sigmoids are distributed while a network trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnlib.lab.train import Probe


def sigmoid_inputs(x: Tensor) -> Probe:
    """Return a probe of what enters the last sigmoid layer of a sequential model.

    Parameters
    ----------
    x : Tensor
        Inputs that the model is looked at with, shape (rows, features).

    Returns
    -------
    Probe
        Metrics: ``p15``, ``p50``, ``p85``, percentiles over the rows at the layer's first unit;
        ``width``, the distance from the 15th to the 85th, averaged over all units; and, from
        the second record on, ``drift``: how far each unit's median moved since the record
        before, averaged likewise.
    """
    ranks = torch.tensor([0.15, 0.50, 0.85])
    before: list[Tensor] = []

    def probe(model: nn.Module, step: int) -> dict[str, float]:  # noqa: ARG001
        layers = list(model.children())
        last = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Sigmoid))
        p = torch.quantile(nn.Sequential(*layers[:last])(x), ranks, dim=0)  # (3, units)
        found = dict(zip(("p15", "p50", "p85"), p[:, 0].tolist(), strict=True))
        found["width"] = (p[2] - p[0]).mean().item()
        if before:
            found["drift"] = (p[1] - before[-1]).abs().mean().item()
        before[:] = [p[1]]
        return found

    return probe
