"""Conversion of state, against the real Keras on TensorFlow and the real Flax."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import require
from torch import Tensor, nn

from bnlib import convert
from bnlib.layers import BatchNorm1d, BatchNorm2d, BatchNorm3d

pytestmark = [
    # The frameworks warn about their own insides.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning",
        "ignore::FutureWarning",
        "ignore:The model does not have any trainable weights",
    ),
]
SHAPES = {
    (16, 3): BatchNorm1d,
    (8, 5, 3): BatchNorm1d,
    (8, 4, 5, 3): BatchNorm2d,
    (4, 2, 3, 4, 3): BatchNorm3d,
}


@pytest.fixture
def keras(monkeypatch) -> ModuleType:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        require("tensorflow")
        return require("keras")


@pytest.fixture
def flax(monkeypatch) -> SimpleNamespace:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        require("flax")
        modules = {name: require(f"flax.{name}") for name in ("linen", "nnx")}
        return SimpleNamespace(jax=require("jax"), optax=require("optax"), **modules)


def data(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Batch in the frameworks' layout, channels last, with a mean and a scale per channel."""
    x = np.random.default_rng(seed).normal(size=shape)
    return (x * [1.0, 3.0, 0.2] + [0.0, 5.0, -1.0]).astype(np.float32)


def evaluate(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """Evaluate on channels-last data, as a torch user does: channels on axis 1."""
    with torch.no_grad():
        y: Tensor = module.eval()(torch.from_numpy(x).movedim(-1, 1))
    return y.movedim(1, -1).numpy()


def trained_keras(keras: ModuleType, shape: tuple[int, ...], **options):
    """Keras layer after some optimiser steps."""
    layer = keras.layers.BatchNormalization(**options)
    model = keras.Sequential([keras.Input(shape[1:]), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    for step in range(12):
        model.train_on_batch(data(shape, step), np.tanh(data(shape, step + 1)))
    return layer


def trained_torch(cls: type, shape: tuple[int, ...], **options) -> nn.Module:
    module = cls(3, **options)
    optimizer = torch.optim.SGD(module.parameters(), 0.1) if list(module.parameters()) else None
    for step in range(12):
        x = torch.from_numpy(data(shape, step)).movedim(-1, 1)
        y = module(x)
        if optimizer:
            (y - x.tanh()).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    return module.eval()


def assert_same_state(back: nn.Module, module: nn.Module) -> None:
    """Compare parameters and statistics; the frameworks do not count batches."""
    for name, value in module.state_dict().items():
        if name != "num_batches_tracked":
            assert torch.equal(back.state_dict()[name], value), name


KERAS_OPTIONS = [
    {},
    {"momentum": 0.9, "epsilon": 1e-5},
    {"scale": False},
    {"center": False},
    {"scale": False, "center": False},
]


@pytest.mark.frameworks
@pytest.mark.parametrize("options", KERAS_OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_from_keras(keras, shape, options):
    layer = trained_keras(keras, shape, **options)
    module = convert.from_keras(layer)
    assert type(module) is SHAPES[shape]
    assert module.momentum == pytest.approx(1 - layer.momentum)
    assert module.eps == layer.epsilon
    x = data(shape, 99)
    expected = np.asarray(layer(x, training=False))
    assert np.abs(expected - x).max() > 0.1  # the layer does something
    np.testing.assert_allclose(evaluate(module, x), expected, rtol=1e-5, atol=1e-5)
    learned = {name for name, p in module.named_parameters() if p.requires_grad}
    assert ("weight" in learned) == options.get("scale", True)
    assert ("bias" in learned) == options.get("center", True)


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"momentum": 0.3, "eps": 1e-2}], ids=str
)
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_to_keras_and_back(keras, shape, options):
    module = trained_torch(SHAPES[shape], shape, **options)
    layer = convert.to_keras(module, rank=len(shape), name="converted")
    assert layer.name == "converted"
    x = data(shape, 99)
    np.testing.assert_allclose(
        np.asarray(layer(x, training=False)), evaluate(module, x), rtol=1e-5, atol=1e-5
    )
    back = convert.from_keras(layer, SHAPES[shape])
    assert (back.momentum, back.eps) == (module.momentum, module.eps)
    assert_same_state(back, module)


@pytest.mark.frameworks
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_keras_records_the_biased_variance(keras, shape):
    """Momentum 0 keeps the last batch: n of Keras, n - 1 of PyTorch."""
    x = data(shape)
    layer = keras.layers.BatchNormalization(momentum=0.0)
    layer(x, training=True)
    axes, count = tuple(range(len(shape) - 1)), x.size // 3
    np.testing.assert_allclose(np.asarray(layer.moving_variance), x.var(axes), rtol=1e-4)
    module = SHAPES[shape](3, momentum=1.0)
    module(torch.from_numpy(x).movedim(-1, 1))
    converted = convert.from_keras(layer, count=count)
    torch.testing.assert_close(converted.running_var, module.running_var, rtol=1e-4, atol=1e-4)
    assert not np.allclose(np.asarray(layer.moving_variance), module.running_var, rtol=1e-3)


@pytest.mark.frameworks
def test_tensorflows_fused_kernel_returns_the_unbiased_variance(keras):
    """It is below Keras 2's fused path; Keras 3 does not use it."""
    tf, x = require("tensorflow"), data((8, 4, 5, 3))
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    _, _, var = tf.compat.v1.nn.fused_batch_norm(x, ones, zeros, is_training=True)
    np.testing.assert_allclose(var, x.var((0, 1, 2), ddof=1), rtol=1e-4)


@pytest.mark.frameworks
def test_training_goes_on_alike(keras):
    """After conversion the running mean follows the same filter in both."""
    shape = (16, 3)
    layer = trained_keras(keras, shape)
    module = convert.from_keras(layer)
    for step in range(5):
        layer(data(shape, step), training=True)
        module(torch.from_numpy(data(shape, step)))
    np.testing.assert_allclose(module.running_mean, np.asarray(layer.moving_mean), rtol=1e-4)
    np.testing.assert_allclose(module.running_var, np.asarray(layer.moving_variance), rtol=2e-2)


@pytest.mark.frameworks
def test_an_unbuilt_keras_layer_is_an_error(keras):
    with pytest.raises(ValueError, match="build it or call it once"):
        convert.from_keras(keras.layers.BatchNormalization())


def trained_nnx(flax: SimpleNamespace, shape: tuple[int, ...], **options):
    layer = flax.nnx.BatchNorm(3, rngs=flax.nnx.Rngs(0), **options)
    optimizer = flax.nnx.Optimizer(layer, flax.optax.sgd(0.1), wrt=flax.nnx.Param)
    for step in range(12):
        x, target = data(shape, step), np.tanh(data(shape, step + 1))
        loss = flax.nnx.grad(lambda m, x=x, t=target: ((m(x) - t) ** 2).mean())
        optimizer.update(layer, loss(layer))
    return layer


FLAX_OPTIONS = [{}, {"momentum": 0.9, "epsilon": 1e-3}, {"use_scale": False}, {"use_bias": False}]


@pytest.mark.frameworks
@pytest.mark.parametrize("options", FLAX_OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_from_flax_nnx(flax, shape, options):
    layer = trained_nnx(flax, shape, **options)
    module = convert.from_flax(layer, SHAPES[shape])
    assert module.momentum == pytest.approx(1 - layer.momentum)
    assert module.eps == layer.epsilon
    x = data(shape, 99)
    expected = np.asarray(layer(x, use_running_average=True))
    assert np.abs(expected - x).max() > 0.1
    np.testing.assert_allclose(evaluate(module, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.frameworks
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_from_flax_linen(flax, shape):
    layer = flax.linen.BatchNorm(momentum=0.8, epsilon=1e-3)
    variables = layer.init(flax.jax.random.key(0), data(shape), use_running_average=False)
    variables["params"] = {"scale": np.float32([1, 2, 3]), "bias": np.float32([0, -1, 1])}
    for step in range(12):
        _, updated = layer.apply(
            variables, data(shape, step), use_running_average=False, mutable=["batch_stats"]
        )
        variables = {**variables, **updated}
    module = convert.from_flax(variables, SHAPES[shape], momentum=0.8, epsilon=1e-3)
    assert module.momentum == 0.2
    x = data(shape, 99)
    expected = np.asarray(layer.apply(variables, x, use_running_average=True))
    np.testing.assert_allclose(evaluate(module, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"momentum": 0.3, "eps": 1e-2}], ids=str
)
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_to_flax_and_back(flax, shape, options):
    module = trained_torch(SHAPES[shape], shape, **options)
    variables, flax_options = convert.to_flax(module), convert.flax_options(module)
    layer = flax.linen.BatchNorm(use_running_average=True, **flax_options)
    x = data(shape, 99)
    np.testing.assert_allclose(
        np.asarray(layer.apply(variables, x)), evaluate(module, x), rtol=1e-5, atol=1e-5
    )
    hyper = {name: flax_options[name] for name in ("momentum", "epsilon")}
    back = convert.from_flax(variables, SHAPES[shape], **hyper)
    assert (back.momentum, back.eps) == (module.momentum, module.eps)
    assert_same_state(back, module)


@pytest.mark.frameworks
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_flax_records_the_biased_variance(flax, shape):
    x = data(shape)
    layer = flax.nnx.BatchNorm(3, momentum=0.0, rngs=flax.nnx.Rngs(0))
    layer(x)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(np.asarray(layer.var[...]), x.var(axes), rtol=1e-4)


# ---- what needs no framework ---------------------------------------------------------------


def test_variables_are_numpy_and_independent_of_the_module():
    module = BatchNorm2d(3)
    variables = convert.to_flax(module)
    assert set(variables["params"]) == {"scale", "bias"}
    assert set(variables["batch_stats"]) == {"mean", "var"}
    variables["batch_stats"]["mean"][0] = 7
    assert module.running_mean[0] == 0


def test_half_precision_leaves_as_float32():
    assert convert.to_flax(BatchNorm1d(3).bfloat16())["batch_stats"]["var"].dtype == np.float32


def test_what_has_no_equivalent_is_an_error():
    with pytest.raises(ValueError, match="no running statistics"):
        convert.to_flax(BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(ValueError, match="cumulative average"):
        convert.to_flax(BatchNorm1d(3, momentum=None))
    with pytest.raises(ValueError, match="no statistics"):
        convert.from_flax({"params": {"scale": np.ones(3)}})


def test_momentum_survives_the_round_trip():
    for momentum in (0.1, 0.01, 0.3, 0.9, 0.0, 1.0):
        module = BatchNorm1d(3, momentum=momentum)
        options = convert.flax_options(module)
        back = convert.from_flax(convert.to_flax(module), BatchNorm1d, momentum=options["momentum"])
        assert back.momentum == momentum
        assert options["momentum"] == pytest.approx(1 - momentum)


def test_no_framework_is_imported_with_the_module():
    code = (
        "import sys, bnlib.convert; "
        "bnlib.convert.to_flax(bnlib.BatchNorm1d(2)); "
        "print([m for m in ('keras', 'tensorflow', 'jax', 'flax') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.frameworks
@pytest.mark.parametrize("options", KERAS_OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_a_frozen_keras_layer_stays_frozen_both_ways(keras, shape, options):
    layer = trained_keras(keras, shape, **options)
    layer.trainable = False
    x = data(shape, 99)
    module = convert.from_keras(layer)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    y = module(torch.from_numpy(x).movedim(-1, 1))
    expected = keras.ops.convert_to_numpy(layer(x, training=True))
    np.testing.assert_allclose(y.detach().movedim(1, -1).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    back = convert.to_keras(module, rank=len(shape))
    assert not back.trainable
    if list(module.parameters()):  # in evaluation only, or with frozen parameters only: not so
        assert convert.to_keras(module.requires_grad_(True), rank=len(shape)).trainable
        module.requires_grad_(False)
    assert convert.to_keras(module.train(), rank=len(shape)).trainable
    assert convert.from_keras(back, type(module)).training is False
