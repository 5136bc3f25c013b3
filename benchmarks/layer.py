"""Time and saved memory of batch normalization layers, relative to ``nn.BatchNorm2d``.

Run as ``python benchmarks/layer.py [--rounds N] [--json FILE] [--store]``. All layers take turns in
one process, so that whatever else the machine does falls on all of them, and each round
gives one ratio; the table shows medians over rounds. Ratios below 1 are faster than
PyTorch's own. The last line has the figures that the project promises: geometric mean and
worst ratio of ``bnlib.BatchNorm2d`` over all cases, and its saved memory in input sizes.
With ``--store`` the ratios become the stored result ``layer-speed``, which the book shows.

Two threads need two free cores: on a busy machine threads wait for each other and the
layer made of more operations waits more often. The load average is printed for that reason.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from bnlib import BatchNorm2d
from bnlib.evidence.provenance import stamp
from bnlib.evidence.store import save_provenance, save_results
from bnlib.functional import batch_norm_backward, moments, normalize

SHAPES = [(128, 16, 28, 28), (64, 64, 32, 32), (128, 128, 8, 8), (256, 32, 14, 14)]
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
THREADS = (1, 2)


class NaiveBatchNorm2d(BatchNorm2d):
    """The formulas, left to autograd: what a tutorial's first layer does."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the batch and move the running statistics."""
        mean, var, count = moments(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, 0.1)
            self.running_var.lerp_(var * count / (count - 1), 0.1)
        return normalize(input, mean, var, self.weight, self.bias, self.eps)


class Closed(torch.autograd.Function):
    """The formulas with their gradient in closed form, whole tensors at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """Normalise by the batch; keep the input only."""
        mean, var, _ = moments(x)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps = eps
        return normalize(x, mean, var, weight, bias, eps)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Carry the gradient back."""
        x, weight, mean, var = ctx.saved_tensors
        return *batch_norm_backward(g, x, mean, var, weight, ctx.eps), None


class ClosedBatchNorm2d(BatchNorm2d):
    """The closed form without blocks (running statistics left out: they cost next to nothing)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the batch."""
        y: Tensor = Closed.apply(input, self.weight, self.bias, self.eps)
        return y


LAYERS: dict[str, type[nn.BatchNorm2d]] = {
    "torch": nn.BatchNorm2d,
    "bnlib": BatchNorm2d,
    "closed": ClosedBatchNorm2d,
    "naive": NaiveBatchNorm2d,
}


def step(layer: nn.Module, x: Tensor, g: Tensor) -> Callable[[], object]:
    """Return one forward and backward pass to time."""
    wanted = (x, *layer.parameters())
    return lambda: torch.autograd.grad(layer(x), wanted, g)


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratios(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time every layer in turn, `rounds` times; median ratio of each to the first."""
    for call in steps.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        seconds = {name: timed(call) for name, call in steps.items()}
        for name, value in seconds.items():
            found[name].append(value / seconds["torch"])
    return {name: statistics.median(values) for name, values in found.items()}


def saved_inputs(layer: nn.Module, x: Tensor) -> float:
    """Elements that a forward pass keeps for the backward pass, in sizes of the input."""
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        kept[t.data_ptr()] = t.numel()  # the same memory kept twice counts once
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        layer(x)
    return sum(kept.values()) / x.numel()


def measure(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield one record per number of threads, layout and shape."""
    for threads in THREADS:
        torch.set_num_threads(threads)
        for layout, memory_format in FORMATS.items():
            for shape in SHAPES:
                x, g = (torch.randn(shape).to(memory_format=memory_format) for _ in range(2))
                x.requires_grad_()
                layers = {name: cls(shape[1]) for name, cls in LAYERS.items()}
                steps = {name: step(layer, x, g) for name, layer in layers.items()}
                saved = {name: saved_inputs(layer, x) for name, layer in layers.items()}
                case = {"threads": threads, "layout": layout, "shape": shape}
                yield {**case, "time": ratios(steps, rounds), "saved": saved}


def row(record: dict[str, Any]) -> str:
    """Return one line of the table."""
    shape = "x".join(map(str, record["shape"]))
    times = "".join(f"{record['time'][name]:9.2f}" for name in list(LAYERS)[1:])
    saved = "".join(f"{record['saved'][name]:9.2f}" for name in LAYERS)
    return f"{record['threads']:7d}  {record['layout']:14s}{shape:14s}{times}  {saved}"


def summary(records: list[dict[str, Any]]) -> str:
    """Return the line of promised figures."""
    ours = [record["time"]["bnlib"] for record in records]
    saved = max(record["saved"]["bnlib"] for record in records)
    return (
        f"geometric mean {statistics.geometric_mean(ours):.2f}, worst {max(ours):.2f}, "
        f"saved memory {saved:.2f} inputs"
    )


def store(records: list[dict[str, Any]], rounds: int, load: float, seconds: float) -> None:
    """Keep the ratios in tidy form, with where they come from."""
    rows = [
        {**record, "shape": "x".join(map(str, record["shape"])), "layer": name}
        | {"metric": metric, "value": value}
        for record in records
        for metric in ("time", "saved")
        for name, value in record[metric].items()
    ]
    table = pd.DataFrame(rows)
    columns = ["threads", "layout", "shape", "layer", "metric", "value"]
    facts = {"experiment": "layer-speed", "runs": len(records), "rounds": rounds, "seeds": []}
    facts |= {"wall_seconds": round(seconds, 1), "core_seconds": round(seconds, 1), "load": load}
    facts |= stamp()  # before the result itself changes the tree
    save_results("layer-speed", table[columns])
    save_provenance("layer-speed", facts)


def main() -> None:
    """Measure, print the table, and keep the records if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds per case")
    parser.add_argument("--json", type=Path, help="also write the records to this file")
    parser.add_argument("--store", action="store_true", help="also store them as a result")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    print(f"{'':37s}{'time / torch':>27s}  {'saved inputs':>36s}")
    header = f"{'threads':>7s}  {'layout':14s}{'shape':14s}"
    timed_names = "".join(f"{name:>9s}" for name in list(LAYERS)[1:])
    print(header + timed_names + "  " + "".join(f"{name:>9s}" for name in LAYERS))
    load, start = os.getloadavg()[0], time.perf_counter()
    records = []
    for record in measure(options.rounds):
        records.append(record)
        print(row(record), flush=True)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n", "utf-8")
    if options.store:
        store(records, options.rounds, load, time.perf_counter() - start)
    naive = statistics.geometric_mean(record["time"]["naive"] for record in records)
    print(f"naive layer: geometric mean {naive:.2f}")
    print(summary(records))


if __name__ == "__main__":
    main()
