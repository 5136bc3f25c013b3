"""How noisy a channel's mean is, and accuracy with statistics taken anew."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlib.lab.data import ImageData
from bnlib.lab.train import Probe, accuracy


def channel_noise(x: Tensor, drawn: int = 32, draws: int = 5_000) -> Probe:
    """Return a probe of how noisy the batch means of a convolutional model's BN layers are.

    Parameters
    ----------
    x : Tensor
        The population, shape (images, C, H, W): it passes a copy of the model in training
        mode as one batch, and random batches are drawn from it with replacement.
    drawn, draws : int
        Images per random batch, and number of batches.

    Returns
    -------
    Probe
        Per BN layer k from 1 on, with m = drawn * H * W values per channel, averaged over
        channels: ``share k``, the logarithm of the effective number of values, variance /
        Var(batch mean), over m; and ``kish k``, the same share, not its logarithm, times the
        design effect 1 + (H W - 1) rho of Kish (1965), rho the mean correlation of two
        positions of an image: 1, up to sampling.
    """

    def probe(model: nn.Module, step: int) -> dict[str, float]:  # noqa: ARG001
        inputs: list[Tensor] = []
        model = copy.deepcopy(model).train()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        model(x)
        found = {}
        for k, values in enumerate(inputs, 1):
            flat = values.flatten(2).double()  # (images, channels, positions)
            positions, var = flat.shape[2], flat.var((0, 2), correction=0)
            images = flat.mean(2) - flat.mean((0, 2))
            rho = (positions * images.square().mean(0) / var - 1) / (positions - 1)
            rows = torch.randint(len(x), (draws, drawn))
            noise = images[rows].mean(1).square().mean(0)
            share = var / (noise * drawn * positions)
            found[f"share {k}"] = share.log().mean().item()
            found[f"kish {k}"] = (share * (1 + (positions - 1) * rho)).mean().item()
        return found

    return probe


def recalibrated(data: ImageData, since: int = 0) -> Probe:
    """Return a probe of the training loss, and of accuracy with recalibrated statistics.

    Parameters
    ----------
    data : ImageData
        Training images to recalibrate with, test images to score.
    since : int
        First step that is looked at.

    Returns
    -------
    Probe
        ``train loss``, of all training images in evaluation mode, and ``recalibrated``, the
        test accuracy of a copy whose BN layers hold mean and variance of the training images,
        each layer's taken with the layers below already recalibrated and dropout off.
    """

    def recalibrate(layer: _BatchNorm, args: tuple[Tensor]) -> None:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        axes = (0, *range(2, args[0].dim()))
        layer.running_mean.copy_(args[0].mean(axes))
        layer.running_var.copy_(args[0].var(axes))

    def probe(model: nn.Module, step: int) -> dict[str, float]:
        if step < since:
            return {}
        loss = nn.functional.cross_entropy(model(data.x_train), data.y_train).item()
        model = copy.deepcopy(model)
        layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
        hooks = [layer.register_forward_pre_hook(recalibrate) for layer in layers]
        model(data.x_train)
        for hook in hooks:
            hook.remove()
        score = accuracy(model, data.x_test, data.y_test)
        return {"train loss": loss, "recalibrated": score}

    return probe
