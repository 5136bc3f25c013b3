"""Small experiments that the tests sweep: importable, as workers in other processes need."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import torch

from bnlib.lab.data import ImageData
from bnlib.lab.models import mlp
from bnlib.lab.train import reproducible, train


@dataclass(frozen=True)
class Run:
    """A tiny training, or a run that waits, fails or kills its process."""

    kind: str
    seed: int
    seconds: float = 0.0


def images(n: int = 200) -> ImageData:
    """Return a separable set of two classes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = torch.randn(n, 6, generator=generator) + 2.0 * y.unsqueeze(1)
    return ImageData("toy", x[: n // 2], y[: n // 2], x[n // 2 :], y[n // 2 :])


def measure(run: Run) -> pd.DataFrame:
    """Train a little network; misbehave where the kind says so."""
    if run.kind == "fail":
        raise RuntimeError("meant to fail")
    if run.kind == "die":
        os._exit(9)
    time.sleep(run.seconds)
    with reproducible(run.seed):
        model = mlp([6, 16, 2], "bn", "relu", "he")
        return train(
            model, images(), steps=30, batch_size=10, lr=0.1, seed=run.seed,
            evaluate_at=range(0, 31, 10), losses_at=range(1, 31),
        )  # fmt: skip


def flip_a_bit(path: Path) -> None:
    """Change one bit of the values in a Parquet file, where only a page's checksum can tell."""
    with pq.ParquetFile(path) as file:
        columns = file.metadata.row_group(0)
    chunk = columns.column(columns.num_columns - 1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    raw = bytearray(path.read_bytes())
    raw[start + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(raw)


def counting(run: Run) -> pd.DataFrame:
    """Leave a mark for each call in the folder that BNLIB_TEST_MARKS names."""
    marks = Path(os.environ["BNLIB_TEST_MARKS"])
    (marks / f"{run.seed}-{time.time_ns()}").touch()
    return measure(run)
