"""Measurements on the loss surface: gradients along a line, Hessian products, top eigenvalues.

Everything takes the loss as a pure function of one flat vector of weights; `surface` makes one
from a model and a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

Function = Callable[[Tensor], Tensor]

RAW = (0.5, 1.0, 2.0, 4.0)  # steps of `survey`, times the learning rate
RELATIVE = (0.001, 0.003, 0.01, 0.03)  # steps of `survey`, times the length of the weights


def hidden_weights(model: nn.Module) -> list[str]:
    """Return the names of the weight matrices of all linear layers but the last, the head."""
    layers = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    return [f"{name}.weight" for name in layers[:-1]]


def surface(model: nn.Module, x: Tensor, names: Sequence[str]) -> tuple[Function, Tensor]:
    """Return a model's outputs on one batch as a function of some weights, and these weights.

    Parameters
    ----------
    model : nn.Module
        Left as it is: the function works on a copy in training mode, so that batch
        normalisation uses the statistics of ``x`` and keeps no running ones.
    x : Tensor
        The batch, shape (N, ...).
    names : sequence of str
        Parameters that may move; all others stay where they are.

    Returns
    -------
    outputs : callable
        Maps a flat vector of weights, shape (P,), to the model's outputs.
    w : Tensor
        The weights at present, shape (P,), detached.
    """
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    parameters = dict(model.named_parameters())
    free = [parameters[name] for name in names]

    def outputs(w: Tensor) -> Tensor:
        parts = w.split([p.numel() for p in free])
        state = {n: v.view_as(p) for n, v, p in zip(names, parts, free, strict=True)}
        found: Tensor = functional_call(model, state, (x,))
        return found

    return outputs, nn.utils.parameters_to_vector(free).detach()


def loss_surface(
    model: nn.Module, x: Tensor, y: Tensor, names: Sequence[str]
) -> tuple[Function, Tensor]:
    """Return the cross-entropy on one batch as a function of some weights, and these weights.

    See `surface`; ``y`` are class numbers, shape (N,).
    """
    outputs, w = surface(model, x, names)
    return lambda at: nn.functional.cross_entropy(outputs(at), y), w


def value_and_gradient(loss: Function, w: Tensor) -> tuple[float, Tensor]:
    """Return the loss at ``w`` and its gradient, shape (P,)."""
    w = w.detach().requires_grad_()
    value = loss(w)
    return value.item(), torch.autograd.grad(value, w)[0]


def hessian_product(loss: Function, w: Tensor) -> Function:
    """Return the map v -> H v, H the Hessian of the loss at ``w``, without forming H.

    Source: Pearlmutter (1994), as the gradient of <gradient, v>.
    """
    w = w.detach().requires_grad_()
    g = torch.autograd.grad(loss(w), w, create_graph=True)[0]
    return lambda v: torch.autograd.grad(g, w, v, retain_graph=True)[0]


def fisher_product(outputs: Function, w: Tensor) -> Function:
    """Return the map v -> J'J v / N, J the Jacobian of all outputs (N, C) in the weights.

    This is the Fisher information of a Gaussian model with unit variance, averaged over the
    rows: the matrix that Karakida, Akaho & Amari (2019) study. It equals the Gauss-Newton matrix
    of half the mean squared error.
    """
    w = w.detach().requires_grad_()
    out = outputs(w)
    u = torch.zeros_like(out, requires_grad=True)
    back = torch.autograd.grad(out, w, u, create_graph=True)[0]  # J'u, linear in u

    def product(v: Tensor) -> Tensor:
        forward = torch.autograd.grad(back, u, v, retain_graph=True)[0]  # J v
        return torch.autograd.grad(out, w, forward, retain_graph=True)[0] / len(out)

    return product


def top_eigenvalue(product: Function, start: Tensor, iterations: int = 20) -> float:
    """Return the largest eigenvalue of a symmetric matrix that is given by its products.

    Parameters
    ----------
    product : callable
        v -> A v for vectors of shape (P,).
    start : Tensor
        Any vector that is not orthogonal to the eigenvector, shape (P,).
    iterations : int
        Products to take. The value approaches the eigenvalue from below.

    Notes
    -----
    Source: Lanczos (1950), with full reorthogonalisation.
    """
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(iterations, len(start))):
        v = product(basis[-1])
        diagonal.append((v @ basis[-1]).item())
        for _ in range(2):  # once leaves rounding errors that grow
            for b in basis:
                v = v - (v @ b) * b
        length = v.norm().item()
        if not length > 1e-6 * max(map(abs, diagonal)):
            break
        beside.append(length)
        basis.append(v / length)
    n = len(diagonal)
    off = torch.tensor(beside[: n - 1], dtype=torch.float64)
    small = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    small += torch.diag(off, 1) + torch.diag(off, -1)
    return float(torch.linalg.eigvalsh(small)[-1])


def along(
    loss: Function, w: Tensor, direction: Tensor, lengths: Sequence[float]
) -> dict[str, float]:
    """Return how loss and gradient change from ``w`` to w + length * direction.

    Parameters
    ----------
    loss : callable
        Maps (P,) to a number.
    w, direction : Tensor
        Where to start and where to go, shape (P,).
    lengths : sequence of float
        How far, in units of ``direction``; positive.

    Returns
    -------
    dict
        ``range``: largest minus smallest loss on the way, the start included; ``change``: mean
        distance between the gradient there and at the start; ``turn``: mean of one minus
        their cosine; ``smoothness``: the largest ratio of that distance to the distance moved.

    Notes
    -----
    The quantities of Santurkar et al. (2018), section 3.2: variation of the loss, gradient
    predictiveness and effective beta-smoothness.
    """
    start, g = value_and_gradient(loss, w)
    points = [value_and_gradient(loss, w + length * direction) for length in lengths]
    losses = [start, *(value for value, _ in points)]
    changes = [(h - g).norm().item() for _, h in points]
    turns = [1 - nn.functional.cosine_similarity(g, h, dim=0).item() for _, h in points]
    moved = [length * direction.norm().item() for length in lengths]
    return {
        "range": max(losses) - min(losses),
        "change": sum(changes) / len(changes),
        "turn": sum(turns) / len(turns),
        "smoothness": max(c / m for c, m in zip(changes, moved, strict=True)),
    }


def mixed_product(loss: Tensor, upper: Tensor, below: Sequence[Tensor]) -> Tensor:
    """Return H g: H the second derivative in ``upper`` and ``below``, g the first in ``below``.

    A step of gradient descent of a small rate in ``below`` changes the gradient in ``upper`` by
    minus the rate times H g, to first order.

    Parameters
    ----------
    loss : Tensor
        A number, with its graph.
    upper : Tensor
        Where the product lies; it has this shape.
    below : sequence of Tensor
        Where the gradient lies. All of it must reach the loss.
    """
    first, *g = torch.autograd.grad(loss, [upper, *below], create_graph=True)
    # H' u is linear in u, so its product with g, differentiated in u, is H g.
    u = torch.zeros_like(first, requires_grad=True)
    transposed = torch.autograd.grad(
        (first * u).sum(), list(below), create_graph=True, allow_unused=True
    )
    pairs = [(t, v) for t, v in zip(transposed, g, strict=True) if t is not None]
    product = torch.stack([(t * v.detach()).sum() for t, v in pairs]).sum()
    return torch.autograd.grad(product, u)[0]


def survey(
    model: nn.Module, x: Tensor, y: Tensor, lr: float, seed: int = 0, iterations: int = 15
) -> dict[str, float]:
    """Return what the loss looks like around a model, in the hidden weights, raw and scale-free.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    x, y : Tensor
        A batch of inputs, shape (N, ...), and classes, shape (N,).
    lr : float
        Learning rate: raw steps are `RAW` times it, along the negative gradient.
    seed, iterations : int
        Of the search for the top eigenvalue.

    Returns
    -------
    dict
        ``batch loss``; ``length`` of the weights w; ``gradient``, the length of the gradient g;
        ``range``, ``change`` and ``smoothness`` of `along` at raw steps; ``eigenvalue``, the
        top one of the Hessian. The same with "relative": ``range`` at steps that are `RELATIVE`
        times the length of w, their ``change`` divided by ``|g|``, their ``smoothness`` and the
        ``eigenvalue`` times ``|w|^2``. These do not change where the loss is scale-invariant
        and w is multiplied by a number.
    """
    with torch.enable_grad():
        loss, w = loss_surface(model, x, y, hidden_weights(model))
        value, g = value_and_gradient(loss, w)
        length, slope = w.norm().item(), g.norm().item()
        raw = along(loss, w, -g, [f * lr for f in RAW])
        relative = along(loss, w, -g * (length / slope), RELATIVE)
        start = torch.randn(len(w), generator=torch.Generator().manual_seed(seed)).to(w)
        top = top_eigenvalue(hessian_product(loss, w), start, iterations)
    return {
        "batch loss": value,
        "length": length,
        "gradient": slope,
        "range": raw["range"],
        "change": raw["change"],
        "smoothness": raw["smoothness"],
        "eigenvalue": top,
        "relative range": relative["range"],
        "relative change": relative["change"] / slope,
        "relative smoothness": relative["smoothness"] * length**2,
        "relative eigenvalue": top * length**2,
    }
