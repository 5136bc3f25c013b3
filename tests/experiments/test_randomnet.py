"""The parts of batch normalization, their random networks and what is measured on them."""

import math

import pytest
import torch
from torch import nn

from bnlib.experiments.gradients.randomnet import Net, cosines, normalise, propagate


@pytest.fixture
def z() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(12, 5, dtype=torch.float64) * 3 + 2


def test_bn_is_pytorchs(z: torch.Tensor) -> None:
    expected = nn.functional.batch_norm(z, None, None, training=True, eps=1e-30)
    torch.testing.assert_close(normalise(z, "bn"), expected)


def test_parts_do_what_they_say(z: torch.Tensor) -> None:
    assert normalise(z, "none") is z
    torch.testing.assert_close(normalise(z, "mean"), z - z.mean(0))
    torch.testing.assert_close(normalise(z, "rms").square().mean(0), torch.ones(5).double())
    torch.testing.assert_close(normalise(z, "std").std(0, correction=0), torch.ones(5).double())
    with pytest.raises(ValueError, match="got 'max'"):
        normalise(z, "max")


@pytest.mark.parametrize("residual", [False, True])
def test_propagate_is_the_network_written_out(z: torch.Tensor, residual: bool) -> None:
    torch.manual_seed(1)
    found = propagate(Net("bn", "relu", 2.0, 12, residual), z.clone(), 2)
    torch.manual_seed(1)
    x = z
    for got in found[1:]:
        weight = torch.randn(5, 5, dtype=torch.float64) * math.sqrt(2 / 5)
        y = torch.relu((x - x.mean(0)) / x.std(0, correction=0)) @ weight
        x = x + y if residual else y
        torch.testing.assert_close(got, x)
    assert torch.autograd.grad(found[-1].sum(), found[0])[0].shape == z.shape


def test_cosines_of_known_rows() -> None:
    mean, spread = cosines(torch.eye(3))
    assert (mean, spread) == (0.0, 0.0)
    mean, spread = cosines(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    assert mean == pytest.approx((2 * 2 / 6) / 2)  # mean inner product 2/3, squared length 2
    assert spread == pytest.approx(torch.tensor([1.0, 1, 0, 0, 0, 0]).std().item())
