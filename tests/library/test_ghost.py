"""GhostBatchNorm: virtual batches against a loop over PyTorch's layer."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from bnlib.layers import BatchNorm1d, GhostBatchNorm


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def assert_same_state(ours: nn.Module, theirs: nn.Module, **bounds: float) -> None:
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, **bounds)


def by_hand(layer: nn.Module, x: Tensor, size: int) -> Tensor:
    """Ghost batches as a loop over an ordinary layer."""
    return torch.cat([layer(part) for part in x.split(size)])


@pytest.mark.parametrize("shape", [(10, 4), (10, 4, 3), (10, 4, 2, 3), (10, 4, 2, 1, 2)])
@pytest.mark.parametrize(
    ("size", "momentum"), list(itertools.product([2, 4, 5, 10, 64], [0.1, None]))
)
def test_ghost_batches_are_normalised_one_by_one(shape, size, momentum):
    rank = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    reference = rank[len(shape)](4, momentum=momentum)
    ghost = GhostBatchNorm(4, size, momentum=momentum)
    x, g = torch.randn(shape), torch.randn(shape)
    results = []
    for function in (ghost, lambda x: by_hand(reference, x, size)):
        inner = x.clone().requires_grad_()
        y = function(inner)
        results.append((y, torch.autograd.grad(y, inner, g)[0]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
    assert_same_state(ghost, reference, rtol=1e-4, atol=1e-5)
    assert ghost.num_batches_tracked == -(-10 // size)
    torch.testing.assert_close(ghost.eval()(x), reference.eval()(x), rtol=1e-4, atol=1e-5)


def test_ghost_batches_differ_from_the_whole_batch():
    x = torch.randn(8, 3)
    parts = GhostBatchNorm(3, 4)(x).split(4)
    assert all(part.mean(0).abs().max() < 1e-5 for part in parts)
    assert (GhostBatchNorm(3, 4)(x) - BatchNorm1d(3)(x)).abs().max() > 0.1


def test_ghost_evaluation_does_not_depend_on_the_virtual_batch():
    x = torch.randn(7, 3)
    assert torch.equal(GhostBatchNorm(3, 2).eval()(x), GhostBatchNorm(3, 100).eval()(x))


def test_ghost_errors():
    with pytest.raises(ValueError, match="virtual_batch_size must be at least 1, but got 0"):
        GhostBatchNorm(3, 0)
    with pytest.raises(ValueError, match="expected at least 2D input"):
        GhostBatchNorm(3, 2)(torch.randn(3))
    # A last virtual batch of a single sample has no variance.
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        GhostBatchNorm(3, 2)(torch.randn(5, 3))
    assert "virtual_batch_size=2" in repr(GhostBatchNorm(3, 2))


def test_ghost_batches_keep_the_layout():
    x = torch.randn(6, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert GhostBatchNorm(3, 4)(x).is_contiguous(memory_format=torch.channels_last)
