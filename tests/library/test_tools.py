"""Tools that trace, export, transform or exchange layers: the page's table, tried row by row."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import require
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import bnlib

PAGE = Path(__file__).parents[2] / "chapters" / "layer.md"
X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn, self.act = nn.Conv2d(3, 4, 3), bnlib.BatchNorm2d(4), nn.ReLU()
        with torch.no_grad():
            self.bn.running_mean.normal_()
            self.bn.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


def norms(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def by_jit_trace(model: nn.Module) -> None:
    for example in (X, torch.randn(16, 3, 98, 98)):  # small and large ones take other blocks
        for guard in (torch.no_grad, torch.enable_grad):
            with guard():
                traced = torch.jit.trace(model, example)
            assert_close(traced(X[:1]), model(X[:1]))
            assert traced.graph.findAllNodes("prim::PythonOp", recurse=True) == []


def by_jit_script(model: nn.Module) -> None:
    assert_close(torch.jit.script(model)(X), model(X))


def by_symbolic_trace(model: nn.Module) -> None:
    traced = torch.fx.symbolic_trace(model)
    assert_close(traced(X), model(X))
    assert [n.target for n in traced.graph.nodes if n.op == "call_module"] == ["conv", "bn", "act"]


def by_fx_fuse(model: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from torch.fx.experimental import optimization
    fused = optimization.fuse(model)
    assert_close(fused(X), model(X), rtol=1e-4, atol=1e-5)
    assert not norms(fused)


def operators(graph: torch.fx.Graph) -> list[str]:
    return [str(n.target) for n in graph.nodes if n.op == "call_function"]


def by_export(model: nn.Module) -> None:
    for strict in (True, False):
        batch = torch.export.Dim("batch", min=1, max=64)
        program = torch.export.export(model, (X,), dynamic_shapes=({0: batch},), strict=strict)
        assert [o.split(".")[1] for o in operators(program.graph)] == [
            "conv2d",
            "batch_norm",
            "relu",
        ]
        assert_close(program.module()(X[:1]), model(X[:1]))


def by_make_fx(model: nn.Module) -> None:
    graph = make_fx(model)(X)
    assert sum("batch_norm" in name for name in operators(graph.graph)) == 1
    assert_close(graph(2 * X), model(2 * X))
    model.train()
    step = make_fx(lambda x: torch.autograd.grad(model(x).pow(3).sum(), model.bn.weight))(X)
    assert_close(step(2 * X), torch.autograd.grad(model(2 * X).pow(3).sum(), model.bn.weight))


def by_compile(model: nn.Module) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_close(compiled(X), model(X), rtol=1e-4, atol=1e-5)


def by_onnx(model: nn.Module, *, dynamo: bool) -> None:
    onnx, runtime = require("onnx"), require("onnxruntime")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    path = Path.cwd() / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (X,), str(path), dynamo=dynamo, verbose=False)
    assert {node.op_type for node in onnx.load(path).graph.node} == {"Conv", "Relu"}
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    assert_close(torch.from_numpy(found), model(X).detach(), rtol=1e-4, atol=1e-5)


def by_eager_quantization(model: nn.Module) -> None:
    fused = torch.ao.quantization.fuse_modules(model, [["conv", "bn", "act"]])
    assert_close(fused(X), model(X), rtol=1e-4, atol=1e-5)


def by_fx_quantization(model: nn.Module) -> None:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = prepare_fx(model, get_default_qconfig_mapping("x86"), (X,))
        prepared(X)
        assert not norms(convert_fx(prepared))


def by_transforms(model: nn.Module) -> None:
    state = {k: v.detach() for k, v in model.state_dict().items()}
    call = lambda s, x: functional_call(model, s, (x,))  # noqa: E731
    one_by_one = torch.stack([call(state, x[None])[0] for x in X])
    assert_close(vmap(lambda x: call(state, x[None])[0])(X), one_by_one)
    loss = lambda w: call(state | {"bn.weight": w}, X).pow(2).sum()  # noqa: E731
    weight = state["bn.weight"]
    found = grad(loss)(weight)
    assert_close(jacrev(loss)(weight), found)
    assert_close(jvp(loss, (weight,), (torch.ones(4),))[1], found.sum())


def by_checkpoint(model: nn.Module) -> None:
    model.train()
    plain = torch.autograd.grad(model(X).pow(2).sum(), model.conv.weight)
    again = torch.autograd.grad(
        checkpoint(model, X, use_reentrant=False).pow(2).sum(), model.conv.weight
    )
    assert_close(again, plain)


def by_sync_conversion(model: nn.Module) -> None:
    before = model(X)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert [type(m) for m in norms(model)] == [nn.SyncBatchNorm]
    assert_close(model(X), before)


def by_fuse_conv_bn(model: nn.Module) -> None:
    folded = nn.utils.fusion.fuse_conv_bn_eval(model.conv, model.bn)
    assert_close(model.act(folded(X)), model(X), rtol=1e-4, atol=1e-5)


TOOLS: dict[str, Callable[[nn.Module], None]] = {
    "`torch.jit.trace`": by_jit_trace,
    "`torch.jit.script`": by_jit_script,
    "`torch.fx.symbolic_trace`": by_symbolic_trace,
    "`torch.fx.experimental.optimization.fuse`": by_fx_fuse,
    "`torch.export`": by_export,
    "`make_fx`": by_make_fx,
    "`torch.compile`": by_compile,
    "ONNX, `dynamo=True`": lambda model: by_onnx(model, dynamo=True),
    "ONNX, `dynamo=False`": lambda model: by_onnx(model, dynamo=False),
    "quantization, eager (`fuse_modules`)": by_eager_quantization,
    "quantization, FX (`prepare_fx`)": by_fx_quantization,
    "`torch.func`: `vmap`, `grad`, `jacrev`, `jvp`": by_transforms,
    "`torch.utils.checkpoint`": by_checkpoint,
    "`convert_sync_batchnorm`": by_sync_conversion,
    "`fuse_conv_bn_eval`": by_fuse_conv_bn,
}
ROWS = [
    pytest.param(name, marks=[pytest.mark.frameworks] if "ONNX" in name else []) for name in TOOLS
]


def page_rows() -> dict[str, str]:
    """Tool and verdict of each row of the page's table."""
    lines = PAGE.read_text("utf-8").partition("| tool | these layers |\n|---|---|\n")[2]
    rows = lines.partition("\n\n")[0].splitlines()
    return dict(tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows)


def test_the_page_lists_every_tool():
    assert list(page_rows()) == list(TOOLS)


@pytest.mark.parametrize("name", ROWS)
def test_tools_do_what_the_page_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TOOLS[name](bnlib.to_torch(Net()).eval())  # with PyTorch's layer it works in any case
    if page_rows()[name] == "work":
        TOOLS[name](Net().eval())
        return
    assert page_rows()[name] == "need `to_torch`"
    with pytest.raises((AssertionError, RuntimeError, torch.jit.frontend.FrontendError)):
        TOOLS[name](Net().eval())


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_symbolic_tracing_keeps_the_layer_whole(rank, training):
    layer = getattr(bnlib, f"BatchNorm{rank}d")(3, momentum=None).train(training)
    traced = torch.fx.symbolic_trace(nn.Sequential(layer, bnlib.GhostBatchNorm(3, 2)))
    assert layer.num_batches_tracked == 0
    traced(torch.randn(6, 3, *[4] * rank))
    assert layer.num_batches_tracked == int(training)


class Functional(nn.Module):
    def forward(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return bnlib.functional.batch_norm(x, mean, var, eps=1e-3)


def test_symbolic_tracing_keeps_the_function_whole():
    traced = torch.fx.symbolic_trace(Functional())
    called = [n.target for n in traced.graph.nodes if n.op == "call_function"]
    assert called == [bnlib.functional.batch_norm]
    given = torch.randn(6, 3), torch.randn(3), torch.rand(3)
    assert_close(traced(*given), nn.functional.batch_norm(*given, eps=1e-3))


@pytest.mark.frameworks
@pytest.mark.parametrize("options", [{}, {"track_running_stats": False}, {"affine": False}])
@pytest.mark.parametrize("training", [True, False])
def test_torchscript_exporter_in_both_modes(options, training, tmp_path):
    require("onnxscript")
    runtime = require("onnxruntime")
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    model = nn.Sequential(nn.Conv2d(3, 4, 3), bnlib.BatchNorm2d(4, **options)).train(training)
    path = str(tmp_path / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (X,), path, dynamo=False, training=mode, do_constant_folding=not training
        )
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    y = session.run(None, {session.get_inputs()[0].name: X.numpy()})[0]
    assert_close(torch.from_numpy(y), model(X).detach(), rtol=1e-4, atol=1e-4)
