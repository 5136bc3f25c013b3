"""bnlib.functional against torch.nn.functional: random configurations, many blocks, parts."""

from __future__ import annotations

import random

import pytest
import torch
from parity import LAYOUTS, TOLERANCE, assert_same, channels_last
from torch import Tensor

from bnlib import blocked, functional
from bnlib.functional import merge_moments, moments


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def random_configuration(seed: int) -> tuple[dict, Tensor, torch.dtype]:
    """One of the contract's many corners, drawn by `seed`."""
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    dtype = draw.choice(
        [torch.float64, torch.float32, torch.float32, torch.bfloat16, torch.float16]
    )

    def randn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    variance = torch.zeros(1)
    while variance.min() < 0.05:  # a nearly constant channel's output is amplified rounding
        spatial = [draw.randint(1, 6) for _ in range(draw.randint(0, 3))]
        shape = [draw.randint(2, 9), draw.randint(1, 8), *spatial]
        layout = LAYOUTS[draw.choice(list(LAYOUTS))]
        x = layout((randn(*shape) * 2 + draw.choice([0, 3])).to(dtype))
        variance = moments(x.double()).var
    channels = shape[1]
    vector_type = torch.float32 if dtype.itemsize == 2 and draw.random() < 0.5 else dtype
    training = draw.random() < 0.7
    track = not training or draw.random() < 0.7
    arguments = {
        "input": x,
        "running_mean": randn(channels).to(vector_type) if track else None,
        "running_var": (randn(channels).square() + 0.5).to(vector_type) if track else None,
        "weight": randn(channels).to(vector_type) if draw.random() < 0.7 else None,
        "bias": randn(channels).to(vector_type) if draw.random() < 0.7 else None,
        "training": training,
        "momentum": draw.choice([0.0, 0.1, 0.5, 1.0, -0.2, 1.3]),
        "eps": draw.choice([1e-5, 1e-3, 1e-1]),
    }
    grad = randn(*shape).to(dtype)
    return arguments, draw.choice([grad, channels_last(grad), grad[:1]]), dtype


@pytest.mark.parametrize("part", range(8))
def test_400_random_configurations_agree_with_torch(part):
    for seed in range(50 * part, 50 * part + 50):
        arguments, grad, dtype = random_configuration(seed)
        try:
            assert_same(arguments, grad, **TOLERANCE[dtype])
        except AssertionError as error:
            described = {k: v for k, v in arguments.items() if not isinstance(v, Tensor)}
            raise AssertionError(f"seed {seed}: {described}, {dtype}: {error}") from error


def test_the_random_configurations_reach_every_corner():
    drawn = [random_configuration(seed) for seed in range(400)]
    assert {dtype for *_, dtype in drawn} == set(TOLERANCE)
    assert {arguments["input"].dim() for arguments, *_ in drawn} == {2, 3, 4, 5}
    for name in ("running_mean", "weight", "bias"):
        absent = sum(arguments[name] is None for arguments, *_ in drawn)
        assert 40 < absent < 360
    mixed = [a for a, _, t in drawn if a["weight"] is not None and a["weight"].dtype != t]
    assert len(mixed) > 20


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, as large tensors have them, and the last one shorter."""
    monkeypatch.setattr(blocked, "BLOCK", 64)
    monkeypatch.setattr(blocked, "SPREAD", 20)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "expanded"])
@pytest.mark.parametrize("shape", [(33, 5), (7, 3, 11), (7, 5, 4, 3), (5, 4, 2, 3, 2)])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_many_blocks_agree_with_torch(small_blocks, shape, layout, dtype):
    c = shape[1]
    x = LAYOUTS[layout](torch.randn(shape) + 1).to(dtype)
    vectors = {"weight": torch.randn(c), "bias": torch.randn(c)}
    buffers = {"running_mean": torch.zeros(c), "running_var": torch.ones(c)}
    vectors, buffers = ({k: v.to(dtype) for k, v in d.items()} for d in (vectors, buffers))
    for training in (True, False):
        arguments = {"input": x, **buffers, **vectors, "training": training}
        assert_same(arguments, torch.randn(shape).to(dtype), **TOLERANCE[dtype])


def test_blocks_cover_rows_once_and_stay_within_size(monkeypatch):
    monkeypatch.setattr(blocked, "BLOCK", 1000)
    for x in (
        torch.randn(50, 4, 3, 3),
        channels_last(torch.randn(50, 4, 3, 3)),
        torch.randn(900, 7),
    ):
        blocks = blocked.split_rows(x)
        assert len(blocks) > 1
        assert max(block.numel() for block in blocks) <= 1000
        assert torch.equal(torch.cat(list(blocks)), blocked.as_rows(x))
        assert blocks[0].data_ptr() == x.data_ptr()


def test_moments_are_the_definition():
    x = torch.randn(4, 3, 2, 5).double()
    mean, var, count = moments(x)
    flat = x.movedim(1, 0).reshape(3, -1)
    torch.testing.assert_close(mean, flat.mean(1))
    torch.testing.assert_close(var, flat.var(1, correction=0))
    assert count == 40


def test_merged_moments_are_those_of_the_whole():
    parts = [torch.randn(n, 3, 2).double() * n + n for n in (1, 4, 0, 7)]
    merged, whole = merge_moments([moments(p) for p in parts]), moments(torch.cat(parts))
    assert merged.count == whole.count
    torch.testing.assert_close(merged, whole)
    # The common mistake: variances averaged without the spread of the means.
    shards = [moments(p) for p in parts if len(p)]
    averaged = sum(s.var * s.count for s in shards) / whole.count
    assert (averaged < whole.var).all()


def test_merging_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one part with values"):
        merge_moments([moments(torch.randn(0, 3))])


def test_functional_offers_what_it_lists():
    assert all(callable(getattr(functional, name)) for name in functional.__all__)
