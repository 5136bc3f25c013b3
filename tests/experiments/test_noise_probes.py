"""Probes of noise and of recalibration, against what is known of their answer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnlib.experiments.noise.probes import channel_noise, recalibrated
from bnlib.lab.data import ImageData
from bnlib.lab.models import mlp


@pytest.mark.parametrize("same", [False, True])
def test_pixels_that_agree_count_once(same: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 8, 1, 1).expand(-1, -1, 3, 3) if same else torch.randn(500, 8, 3, 3)
    found = channel_noise(x, drawn=16)(nn.Sequential(nn.BatchNorm2d(8)), 0)
    assert found["share 1"] == pytest.approx(math.log(1 / 9) if same else 0.0, abs=0.12)
    assert found["kish 1"] == pytest.approx(1.0, abs=0.05)


def test_recalibration_takes_the_statistics_of_the_training_images() -> None:
    torch.manual_seed(0)
    net = mlp([6, 5, 4, 3], "bn")
    x = 3 * torch.randn(200, 6) + 1
    labels = net.train()(x).argmax(1)  # right by definition, with the statistics of x
    data = ImageData("made up", x, labels, x, labels)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.eval()
    with torch.no_grad():
        found = recalibrated(data, since=5)(net, 5)
        assert recalibrated(data, since=5)(net, 4) == {}
        loss = nn.functional.cross_entropy(net(x), labels).item()
    assert found["recalibrated"] == pytest.approx(1.0, abs=0.01)
    assert found["train loss"] == pytest.approx(loss)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name])  # the model itself is left alone
