"""The one training loop, and the conditions under which a run is a pure function of its seed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from bnlib.lab.data import ImageData

Probe = Callable[[nn.Module, int], dict[str, float]]

# PyTorch's generator, thread count and flags belong to the process: one run at a time may
# own them, even where a scheduler runs several tasks in the threads of one process.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch, use one thread and deterministic algorithms; put all of it back at the end.

    Within this context the same code gives the same bits every time on one machine,
    whether alone, in a pool of processes or on a distributed scheduler.

    Parameters
    ----------
    seed : int
        Seed of torch's global generator inside the context.
    """
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        threads = torch.get_num_threads()
        strict = torch.are_deterministic_algorithms_enabled()
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)


def train(
    model: nn.Module,
    data: ImageData,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    optimizer: Literal["sgd", "adam"] = "sgd",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    evaluate_at: Sequence[int] = (),
    losses_at: Sequence[int] = (),
    probe: Probe | None = None,
    stop_at: float | None = None,
) -> pd.DataFrame:
    """Train with cross-entropy on mini-batches and return what was measured on the way.

    Parameters
    ----------
    model : nn.Module
        Maps images to logits, shape (N, classes); trained in place.
    data : ImageData
        Batches come from the training images, accuracies from the test images.
    steps, batch_size : int
        Number of updates and images per update; every epoch is a new permutation, its
        incomplete last batch dropped.
    lr, momentum, weight_decay : float
        Of the optimiser.
    seed : int
        Seed of the order of the batches (initial weights are the caller's).
    optimizer : {"sgd", "adam"}
        Which optimiser.
    evaluate_at : sequence of int
        Steps after which test accuracy and ``probe`` are recorded. 0 is before training.
    losses_at : sequence of int
        Steps whose mini-batch loss (before the update) is recorded.
    probe : callable, optional
        ``probe(model, step)`` returns further metrics; the model is in evaluation mode.
    stop_at : float, optional
        Stop once the test accuracy has reached this value.

    Returns
    -------
    DataFrame
        Columns step, metric, value. Metrics are ``accuracy``, ``loss``, those of the probe
        and, where the loss ceased to be finite, one row ``diverged`` with value 1: a run that
        diverges is a result, not an error, and ends there.

    Raises
    ------
    ValueError
        If the batch is larger than the training set or the optimiser unknown.
    """
    record: list[tuple[int, str, float]] = []
    update = _optimizer(optimizer, model, lr, momentum, weight_decay)
    batches = _batches(len(data.x_train), batch_size, seed)
    evaluations, losses = set(evaluate_at), set(losses_at)

    def evaluate(step: int) -> bool:
        """Record the metrics of a step and say whether training may stop."""
        score = accuracy(model, data.x_test, data.y_test)
        record.append((step, "accuracy", score))
        if probe is not None:
            record.extend((step, key, value) for key, value in _probed(probe, model, step))
        return stop_at is not None and score >= stop_at

    if 0 in evaluations:
        evaluate(0)
    model.train()
    for step in range(1, steps + 1):
        index = next(batches)
        loss = nn.functional.cross_entropy(model(data.x_train[index]), data.y_train[index])
        update.zero_grad()
        loss.backward()
        update.step()
        if step in losses:
            record.append((step, "loss", loss.item()))
        # Reading the loss costs little on a CPU, and a lost run should not cost its full length.
        if not torch.isfinite(loss):
            record.append((step, "diverged", 1.0))
            break
        if step in evaluations and evaluate(step):
            break
    return pd.DataFrame(record, columns=["step", "metric", "value"])


def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 2500) -> float:
    """Return the share of rows that the model, in evaluation mode, puts into the right class.

    A prediction from logits that are not finite counts as wrong. The mode is put back.
    """
    training = model.training
    model.eval()
    right = 0
    with torch.no_grad():
        for inputs, target in zip(x.split(batch_size), y.split(batch_size), strict=True):
            logits = model(inputs)
            right += int(((logits.argmax(1) == target) & logits.isfinite().all(1)).sum())
    model.train(training)
    return right / len(x)


def schedule(steps: int, first: int, ratio: float) -> list[int]:
    """Return rounded geometric steps from ``first`` to ``steps``, both included.

    >>> schedule(100, 10, 2.0)
    [10, 20, 40, 80, 100]
    """
    if not (0 < first <= steps and ratio > 1):
        raise ValueError(f"needs 0 < first <= steps and ratio > 1, got {first}, {steps}, {ratio}")
    points, at = [], float(first)
    while at < steps:
        points.append(round(at))
        at *= ratio
    return sorted({*points, steps})


def _optimizer(
    name: str, model: nn.Module, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    # The fused kernels save a quarter of a small network's step on a CPU.
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr, momentum=momentum, weight_decay=weight_decay, fused=True
        )
    if name == "adam":
        return torch.optim.Adam(parameters, lr, weight_decay=weight_decay, fused=True)
    raise ValueError(f"optimizer must be 'sgd' or 'adam', got {name!r}")


def _batches(n: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield index batches for ever, each epoch in a new order."""
    if not 0 < batch_size <= n:
        raise ValueError(f"batch_size must lie between 1 and {n}, got {batch_size}")
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: n - n % batch_size].split(batch_size)


def _probed(probe: Probe, model: nn.Module, step: int) -> list[tuple[str, float]]:
    training = model.training
    model.eval()
    with torch.no_grad():
        found = probe(model, step)
    model.train(training)
    return list(found.items())
