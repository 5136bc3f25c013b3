"""The same layer in four libraries: run them, probe their conventions, store what they did.

Run as ``python tools/frameworks.py`` with the extra ``frameworks`` installed; the result is
``results/frameworks.parquet`` with its provenance, which the chapter on frameworks shows. The
functions are the code on that page. Arrays have their channels last, as three of the libraries
want them; PyTorch and ONNX get a transposed copy.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

# Before the libraries are imported, which read them.
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}

import jax
import keras
import numpy as np
import onnx
import onnxruntime
import optax
import pandas as pd
import tensorflow as tf
import torch
from flax import linen, nnx
from torch import nn

import bnlib
from bnlib.convert import (
    flax_options,
    from_flax,
    from_keras,
    to_flax,
    to_keras,
)
from bnlib.evidence.provenance import stamp
from bnlib.evidence.store import save_provenance, save_results

LIBRARIES = ("tensorflow-cpu", "keras", "jax", "flax", "optax", "onnx", "onnxruntime")
Array = np.ndarray


def data(*shape: int, seed: int = 0) -> Array:
    """Random values, channels last, with a mean and a scale of its own for each of 3 channels."""
    x = np.random.default_rng(seed).normal(size=(*shape, 3))
    return (x * [1.0, 3.0, 0.2] + [0.0, 5.0, -1.0]).astype(np.float32)


def first(x: Array) -> torch.Tensor:
    """Move the channels of an array from the last axis to the second."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


# ---- the same layer, trained in the same way ------------------------------------------------


def torch_layer(batches: Array, targets: Array) -> nn.Module:
    """Momentum is the weight of the new value; the mode belongs to the module."""
    layer = nn.BatchNorm2d(3, momentum=0.1, eps=1e-5)
    sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer.train()
    for x, target in zip(batches, targets, strict=True):
        y = layer(first(x))  # (N, C, H, W); moves the statistics
        loss = (y - first(target)).square().mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return layer.eval()


def keras_layer(batches: Array, targets: Array) -> Any:
    """Momentum is the weight of the old value; the mode is an argument of the call."""
    layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    model = keras.Sequential([keras.Input(batches.shape[2:]), layer])  # (H, W, C)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    for x, target in zip(batches, targets, strict=True):
        model.train_on_batch(x, target)  # calls model(x, training=True)
    return layer


def nnx_layer(batches: Array, targets: Array) -> Any:
    """Momentum is the weight of the old value; the mode belongs to the module."""
    layer = nnx.BatchNorm(3, momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(layer, optax.sgd(0.1), wrt=nnx.Param)

    def loss(layer: Any, x: Array, target: Array) -> Any:
        return ((layer(x) - target) ** 2).mean()  # moves the statistics

    for x, target in zip(batches, targets, strict=True):
        optimizer.update(layer, nnx.grad(loss)(layer, x, target))
    layer.eval()
    return layer


def linen_layer(batches: Array, targets: Array) -> dict[str, Any]:
    """Nothing is stored in the layer: statistics go in and come out of each call."""
    layer = linen.BatchNorm(momentum=0.9, epsilon=1e-5)
    state = layer.init(jax.random.key(0), batches[0], use_running_average=False)
    params, stats = state["params"], state["batch_stats"]

    def loss(params: Any, stats: Any, x: Array, target: Array) -> Any:
        variables = {"params": params, "batch_stats": stats}
        y, new = layer.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
        return ((y - target) ** 2).mean(), new["batch_stats"]

    for x, target in zip(batches, targets, strict=True):
        grads, stats = jax.grad(loss, has_aux=True)(params, stats, x, target)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    return {"params": params, "batch_stats": stats}


def onnx_model(layer: nn.Module, x: Array) -> tuple[Array, list[str]]:
    """Export a layer in evaluation mode and run the graph; its output and its operations."""
    example = first(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on its own future
        program = torch.onnx.export(layer.eval(), (example,), dynamo=True, verbose=False)
    model = program.model_proto
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    return np.moveaxis(y, 1, -1), [node.op_type for node in model.graph.node]


def keras_both_ways(layer: Any, module: nn.Module, new: Array) -> dict[str, float]:
    """Convert from Keras and to Keras; the largest difference of the outputs."""
    here, there = from_keras(layer), to_keras(module)
    return {
        "to PyTorch": error(evaluate(here, new), layer(new, training=False)),
        "from PyTorch": error(there(new, training=False), evaluate(module, new)),
    }


def linen_both_ways(state: Any, module: nn.Module, new: Array) -> dict[str, float]:
    """Convert from Flax linen, whose layer does not know its momentum, and to it."""
    theirs = linen.BatchNorm(use_running_average=True, momentum=0.9, epsilon=1e-5)
    here = from_flax(state, momentum=0.9, epsilon=1e-5)
    there = linen.BatchNorm(use_running_average=True, **flax_options(module))
    return {
        "to PyTorch": error(evaluate(here, new), theirs.apply(state, new)),
        "from PyTorch": error(there.apply(to_flax(module), new), evaluate(module, new)),
    }


def error(a: Any, b: Any) -> float:
    """Largest absolute difference."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def evaluate(layer: nn.Module, x: Array) -> Array:
    """Output of a PyTorch layer in evaluation mode, channels last."""
    with torch.no_grad():
        return layer.eval()(first(x)).movedim(1, -1).numpy()


# ---- one training batch through a fresh layer: (output, mean, variance) ---------------------


def torch_step(x: Array, **options: Any) -> tuple[Array, Array, Array]:
    """PyTorch."""
    layer = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d}[x.ndim](x.shape[-1], **options)
    y = layer(first(x)).detach().movedim(1, -1)
    return y.numpy(), layer.running_mean.numpy(), layer.running_var.numpy()


def keras_step(x: Array, **options: Any) -> tuple[Array, Array, Array]:
    """Keras."""
    layer = keras.layers.BatchNormalization(**options)
    y = layer(x, training=True)
    return tuple(np.asarray(a) for a in (y, layer.moving_mean, layer.moving_variance))


def nnx_step(x: Array, **options: Any) -> tuple[Array, Array, Array]:
    """Flax, the newer interface."""
    layer = nnx.BatchNorm(x.shape[-1], rngs=nnx.Rngs(0), **options)
    y = layer(x)
    return np.asarray(y), np.asarray(layer.mean[...]), np.asarray(layer.var[...])


def linen_step(x: Array, **options: Any) -> tuple[Array, Array, Array]:
    """Flax, the older interface."""
    layer = linen.BatchNorm(use_running_average=False, **options)
    state = layer.init(jax.random.key(0), x)
    y, new = layer.apply(state, x, mutable=["batch_stats"])
    return tuple(np.asarray(a) for a in (y, *(new["batch_stats"][k] for k in ("mean", "var"))))


def onnx_step(x: Array, **options: Any) -> tuple[Array, Array, Array]:
    """ONNX Runtime, on a graph of one node with training_mode=1."""
    names, kind = ("scale", "B", "input_mean", "input_var"), onnx.TensorProto.FLOAT
    node = onnx.helper.make_node(
        "BatchNormalization", ["X", *names], ["Y", "mean", "var"], training_mode=1, **options
    )
    vectors = [onnx.helper.make_tensor_value_info(n, kind, [3]) for n in (*names, "mean", "var")]
    X, Y = (onnx.helper.make_tensor_value_info(n, kind, first(x).shape) for n in ("X", "Y"))
    graph = onnx.helper.make_graph([node], "bn", [X, *vectors[:4]], [Y, *vectors[4:]])
    opset = [onnx.helper.make_opsetid("", 15)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    feed = dict(zip(names, (one, zero, zero, one), strict=True)) | {"X": first(x).numpy()}
    y, mean, var = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    return np.moveaxis(y, 1, -1), mean, var


STEPS: dict[str, Callable[..., tuple[Array, Array, Array]]] = {
    "PyTorch": torch_step,
    "Keras": keras_step,
    "Flax nnx": nnx_step,
    "Flax linen": linen_step,
    "ONNX": onnx_step,
}


# ---- probes ---------------------------------------------------------------------------------


def defaults() -> dict[str, tuple[float, float]]:
    """Momentum and epsilon as each library writes them."""
    schema = onnx.defs.get_schema("BatchNormalization").attributes
    layers = {
        "Keras": keras.layers.BatchNormalization(),
        "Flax nnx": nnx.BatchNorm(3, rngs=nnx.Rngs(0)),
        "Flax linen": linen.BatchNorm(),
    }
    found = {name: (layer.momentum, layer.epsilon) for name, layer in layers.items()}
    onnx_found = tuple(round(schema[k].default_value.f, 7) for k in ("momentum", "epsilon"))
    return (
        {"PyTorch": (nn.BatchNorm2d(3).momentum, nn.BatchNorm2d(3).eps)}
        | found
        | {"ONNX": onnx_found}
    )


def weight_of_new(step: Callable[..., Any]) -> float:
    """Give a batch of mean 1 to statistics that start at 0 and see what is there afterwards."""
    x = np.float32([[0, 0, 0], [2, 2, 2]])
    return float(step(x)[1][0])


def effective_eps(step: Callable[..., Any]) -> float:
    """From the output's variance v / (v + eps), at v = 0.001."""
    x = np.float32(0.001**0.5 * np.float64([[-1, -1, -1], [1, 1, 1]]))
    return 0.001 * (1 / float(np.float64(step(x)[0]).var(0)[0]) - 1)


def bessel(step: Callable[..., Any], x: Array, keep: float) -> float:
    """Variance recorded after one batch that gets all the weight, over the biased variance."""
    _, _, var = step(x, momentum=keep)
    return float((var / x.astype(np.float64).reshape(-1, 3).var(0)).mean())


def variance_error(step: Callable[..., Any], keep: float, factor: float) -> float:
    """Relative error of the recorded variance in float32 at a mean of 1,000 std."""
    x = (1000 + np.random.default_rng(0).normal(size=(4096, 3))).astype(np.float32)
    _, _, var = step(x, momentum=keep)
    return float(np.abs(var / (factor * x.astype(np.float64).var(0)) - 1).max())


def single_value(step: Callable[..., Any]) -> str:
    """One value per channel in training."""
    try:
        y = step(np.float32([[3, 4, 5]]))[0]
    except ValueError:
        return "error"
    return "beta, silently" if np.abs(y).max() == 0 else "other"


def plain_call() -> dict[str, str]:
    """Call a fresh layer without a word about the mode, on data of mean 7."""
    x = 7 + data(4, 4, 4)
    layers: dict[str, Callable[[], Any]] = {
        "PyTorch": lambda: nn.BatchNorm2d(3)(first(x)).detach().movedim(1, -1).numpy(),
        "Keras": lambda: keras.layers.BatchNormalization()(x),
        "Flax nnx": lambda: nnx.BatchNorm(3, rngs=nnx.Rngs(0))(x),
        "Flax linen": lambda: linen.BatchNorm().init_with_output(jax.random.key(0), x)[0],
    }
    attributes = onnx.defs.get_schema("BatchNormalization").attributes
    training = attributes["training_mode"].default_value.i
    found = {"ONNX": "the batch" if training else "running statistics"}
    for name, call in layers.items():
        try:
            found[name] = (
                "the batch" if np.abs(np.asarray(call()).mean()) < 1 else ("running statistics")
            )
        except Exception:
            found[name] = "error: must be said"
    return found


def channel_axis() -> dict[str, str]:
    """Find the axis of a (2, 3, 4, 5) input whose length is the number of channels."""
    x = np.zeros((2, 3, 4, 5), np.float32)

    def accepts(call: Callable[[int], Any], length: int) -> bool:
        try:
            call(length)
        except Exception:
            return False
        return True

    calls: dict[str, Callable[[int], Any]] = {
        "PyTorch": lambda n: nn.BatchNorm2d(n)(torch.from_numpy(x)),
        "Flax nnx": lambda n: nnx.BatchNorm(n, rngs=nnx.Rngs(0))(x),
    }
    found = {name: [n for n in x.shape if accepts(c, n)] for name, c in calls.items()}
    layer = keras.layers.BatchNormalization()
    layer(x)
    found["Keras"] = [len(np.asarray(layer.gamma))]
    state = linen.BatchNorm(use_running_average=False).init(jax.random.key(0), x)
    found["Flax linen"] = [len(state["params"]["scale"])]
    found["ONNX"] = [n for n in x.shape if accepts(onnx_axis, n)]
    words = {3: "second", 5: "last"}
    return {name: words[length] for name, (length,) in found.items()}


def onnx_axis(length: int) -> None:
    """Let ONNX infer shapes with statistics of this length; it raises where they do not fit."""
    names, kind = ("scale", "B", "input_mean", "input_var"), onnx.TensorProto.FLOAT
    node = onnx.helper.make_node("BatchNormalization", ["X", *names], ["Y"])
    inputs = [onnx.helper.make_tensor_value_info("X", kind, (2, 3, 4, 5))]
    inputs += [onnx.helper.make_tensor_value_info(n, kind, [length]) for n in names]
    output = onnx.helper.make_tensor_value_info("Y", kind, (2, 3, 4, 5))
    graph = onnx.helper.make_graph([node], "bn", inputs, [output])
    opset = [onnx.helper.make_opsetid("", 15)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    session.run(None, {v.name: np.ones([d.dim_value for d in v.type.tensor_type.shape.dim],
                                       np.float32) for v in inputs})  # fmt: skip


def initial() -> dict[str, str]:
    """Read gamma, beta, mean and variance of a fresh layer."""
    layer = keras.layers.BatchNormalization()
    layer.build((None, 3))
    flax_layer = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    state = linen.BatchNorm(use_running_average=False).init(jax.random.key(0), data(2))
    module = nn.BatchNorm1d(3)
    found = {
        "PyTorch": (module.weight, module.bias, module.running_mean, module.running_var),
        "Keras": (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance),
        "Flax nnx": tuple(getattr(flax_layer, n)[...] for n in ("scale", "bias", "mean", "var")),
        "Flax linen": (
            *(state["params"][n] for n in ("scale", "bias")),
            *(state["batch_stats"][n] for n in ("mean", "var")),
        ),
    }

    def number(vector: Any) -> str:
        vector = vector.detach() if isinstance(vector, torch.Tensor) else vector
        return f"{np.asarray(vector)[0]:g}"

    return {name: ", ".join(number(v) for v in vectors) for name, vectors in found.items()}


def half_precision() -> dict[str, str]:
    """Type of the statistics of a layer that was asked for bfloat16."""
    module = nn.BatchNorm1d(3).bfloat16()
    layer = keras.layers.BatchNormalization(dtype="mixed_bfloat16")
    layer.build((None, 3))
    half = jax.numpy.bfloat16
    flax_layer = nnx.BatchNorm(3, rngs=nnx.Rngs(0), dtype=half)
    state = linen.BatchNorm(use_running_average=False, dtype=half).init(
        jax.random.key(0), data(2).astype(half)
    )
    return {
        "PyTorch": str(module.running_var.dtype).removeprefix("torch."),
        "Keras": str(layer.moving_variance.dtype),
        "Flax nnx": str(flax_layer.var[...].dtype),
        "Flax linen": str(state["batch_stats"]["var"].dtype),
    }


def slow_variance() -> float:
    """Relative error of Flax's recorded variance as above, without its fast formula."""
    return variance_error(partial(nnx_step, use_fast_variance=False), 0.0, 1.0)


def fused_kernel() -> float:
    """TensorFlow's own fused operation: variance that it returns over the biased one."""
    x, one, zero = data(2, 2, 2), np.ones(3, np.float32), np.zeros(3, np.float32)
    _, _, var = tf.compat.v1.nn.fused_batch_norm(x, one, zero, is_training=True)
    return float((np.asarray(var) / x.astype(np.float64).var((0, 1, 2))).mean())


# ---- mistakes, each a function that makes it ------------------------------------------------


def momentum_copied() -> dict[str, float]:
    """Copy Keras's momentum to PyTorch as it is; spread of a running mean over steps."""
    right, copied = nn.BatchNorm1d(3, momentum=1 - 0.99), nn.BatchNorm1d(3, momentum=0.99)
    traces: dict[str, list[float]] = {"right": [], "copied": []}
    for seed in range(2000):
        x = torch.from_numpy(data(8, seed=seed))
        for name, layer in (("right", right), ("copied", copied)):
            layer(x)
            traces[name].append(layer.running_mean[1].item())
    return {name: float(np.std(values[1000:])) for name, values in traces.items()}


def too_few_steps() -> dict[str, float]:
    """Show each library twenty batches of mean 5, at its default momentum."""
    module, layer = nn.BatchNorm1d(3), keras.layers.BatchNormalization()
    for seed in range(20):
        module(torch.from_numpy(data(64, seed=seed)))
        layer(data(64, seed=seed), training=True)
    mean = float(np.asarray(layer.moving_mean)[1])
    return {"torch": module.running_mean[1].item(), "keras": mean}


def eps_ignored() -> dict[str, float]:
    """Send a quiet channel (std 0.01) through both libraries' default epsilon."""
    x = (0.01 * np.random.default_rng(0).normal(size=(256, 3))).astype(np.float32)
    return {"torch": float(torch_step(x)[0].std()), "keras": float(keras_step(x)[0].std())}


def axis_ignored() -> dict[str, float]:
    """Give Keras images of 3 channels and 8 x 6 pixels, channels first, as they are."""
    x = np.moveaxis(data(4, 8, 6), -1, 1)  # (N, C, H, W) = (4, 3, 8, 6)
    wrong = keras.layers.BatchNormalization()
    wrong(x)
    right = keras.layers.BatchNormalization(axis=1)
    right(x)
    lengths = (float(len(np.asarray(layer.gamma))) for layer in (wrong, right))
    return dict(zip(("wrong", "right"), lengths, strict=True))


def training_forgotten() -> dict[str, float]:
    """Train with a loop of one's own that calls model(x)."""
    forgotten, said = (keras.layers.BatchNormalization() for _ in range(2))
    for seed in range(200):
        forgotten(data(64, seed=seed))
        said(data(64, seed=seed), training=True)
    means = (float(np.asarray(layer.moving_mean)[1]) for layer in (forgotten, said))
    return dict(zip(("forgotten", "said"), means, strict=True))


def statistics_dropped() -> dict[str, float]:
    """Call apply without catching the new statistics that come out of it."""
    layer = linen.BatchNorm(use_running_average=False)
    dropped = caught = layer.init(jax.random.key(0), data(64))
    for seed in range(200):
        layer.apply(dropped, data(64, seed=seed), mutable=["batch_stats"])
        _, new = layer.apply(caught, data(64, seed=seed), mutable=["batch_stats"])
        caught = {**caught, **new}
    states = {"dropped": dropped, "caught": caught}
    return {name: float(state["batch_stats"]["mean"][1]) for name, state in states.items()}


def weights_in_alphabetical_order() -> dict[str, float]:
    """Load beta before gamma: they have equal lengths, so Keras accepts any order."""
    batches = np.stack([data(8, 5, 4, seed=s) for s in range(12)])
    layer = keras_layer(batches, np.tanh(batches))
    gamma, beta, mean, var = layer.get_weights()
    truth = np.asarray(layer(batches[0], training=False))
    wrong = keras.layers.BatchNormalization(epsilon=1e-5)
    wrong.build(batches.shape[1:])
    wrong.set_weights([beta, gamma, mean, var])  # no error
    return {"error": float(np.abs(np.asarray(wrong(batches[0], training=False)) - truth).max())}


MISTAKES = (
    momentum_copied,
    too_few_steps,
    eps_ignored,
    axis_ignored,
    training_forgotten,
    statistics_dropped,
    weights_in_alphabetical_order,
)


# ---- everything together --------------------------------------------------------------------

Row = dict[str, Any]


def row(part: str, library: str, key: str, value: Any) -> Row:
    """One row of the stored table: a number or a word."""
    text = value if isinstance(value, str) else ""
    number = float("nan") if isinstance(value, str) else float(value)
    return {"part": part, "library": library, "key": key, "value": number, "text": text}


def trained() -> Iterator[Row]:
    """Train the layer everywhere, convert it both ways, compare in evaluation mode."""
    batches = np.stack([data(8, 5, 4, seed=s) for s in range(30)])
    targets, new = np.tanh(batches), data(8, 5, 4, seed=99)
    module = torch_layer(batches, targets)
    layers = {
        "Keras": keras_layer(batches, targets),
        "Flax nnx": nnx_layer(batches, targets),
        "Flax linen": linen_layer(batches, targets),
    }
    back = {
        "Keras": from_keras(layers["Keras"]),
        "Flax nnx": from_flax(layers["Flax nnx"]),
        "Flax linen": from_flax(layers["Flax linen"], momentum=0.9, epsilon=1e-5),
    }
    for name, state in {"PyTorch": module, **back}.items():
        for key in ("weight", "bias", "running_mean", "running_var"):
            for c, value in enumerate(getattr(state, key).tolist()):
                yield row("state", name, f"{key}[{c}]", value)
    both_ways = {
        "Keras": keras_both_ways(layers["Keras"], module, new),
        "Flax linen": linen_both_ways(layers["Flax linen"], module, new),
        "Flax nnx": {"to PyTorch": error(evaluate(back["Flax nnx"], new), layers["Flax nnx"](new))},
    }
    for name, found in both_ways.items():
        for key, value in found.items():
            yield row("conversion", name, key, value)
    ours = bnlib.BatchNorm2d(3)
    ours.load_state_dict(module.state_dict())
    for key, layer in (("from PyTorch", module), ("from bnlib", ours)):
        y, operations = onnx_model(layer, new)
        yield row("conversion", "ONNX", key, error(y, evaluate(module, new)))
        yield row("onnx", key, "operations", ", ".join(operations))


def conventions() -> Iterator[Row]:
    """Ask every library the same questions."""
    for name, (momentum, eps) in defaults().items():
        step, weight = STEPS[name], weight_of_new(STEPS[name])
        keep = 1.0 if abs(weight - momentum) < 1e-3 else 0.0  # all the weight to the new value
        yield row("convention", name, "momentum", momentum)
        yield row("convention", name, "weight of new", weight)
        yield row("convention", name, "momentum is", "weight of new" if keep else "weight of old")
        yield row("convention", name, "eps", eps)
        yield row("convention", name, "eps, measured", effective_eps(step))
        flat, image = bessel(step, data(8), keep), bessel(step, data(2, 2, 2), keep)
        yield row("convention", name, "variance ratio, (N, C)", flat)
        yield row("convention", name, "variance ratio, images", image)
        yield row("convention", name, "variance error", variance_error(
            step, keep, 4096 / 4095 if flat > 1.1 else 1.0))  # fmt: skip
        yield row("convention", name, "one value per channel", single_value(step))
    yield row("convention", "Flax nnx", "variance error, not fast", slow_variance())
    yield row("convention", "TF fused kernel", "variance ratio, images", fused_kernel())
    asked = {
        "plain call uses": plain_call(),
        "channel axis": channel_axis(),
        "gamma, beta, mean, variance": initial(),
        "statistics in bfloat16": half_precision(),
    }
    for key, answers in asked.items():
        for name, answer in answers.items():
            yield row("convention", name, key, answer)


def mistakes() -> Iterator[Row]:
    """Make every mistake."""
    for mistake in MISTAKES:
        for key, value in mistake().items():
            yield row("mistake", mistake.__name__, key, value)


def compute() -> pd.DataFrame:
    """Run everything; some twenty seconds."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return pd.DataFrame([*trained(), *conventions(), *mistakes()])


def main() -> None:
    """Compute, print and store."""
    start = time.perf_counter()
    table = compute()
    seconds = round(time.perf_counter() - start, 1)
    print(table.to_string())
    facts = {"experiment": "frameworks", "runs": len(STEPS), "seeds": [0]} | stamp()
    save_results("frameworks", table)
    facts |= {"wall_seconds": seconds, "core_seconds": seconds}
    facts["versions"] |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    save_provenance("frameworks", facts)


if __name__ == "__main__":
    main()
