"""bnlib.layers: drop-in for torch.nn's layers, in everything that a user does with one."""

from __future__ import annotations

import copy
import io
import logging

import machine
import pytest
import torch
from conftest import lacks, require
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import update_bn

import bnlib
from bnlib.layers import BatchNorm1d, BatchNorm2d, BatchNorm3d, GhostBatchNorm


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


PAIRS = [
    (BatchNorm1d, nn.BatchNorm1d, (6, 4)),
    (BatchNorm1d, nn.BatchNorm1d, (6, 4, 3)),
    (BatchNorm2d, nn.BatchNorm2d, (6, 4, 3, 2)),
    (BatchNorm3d, nn.BatchNorm3d, (6, 4, 2, 2, 2)),
]
OPTIONS = [
    {},
    {"momentum": None},
    {"momentum": 0.7, "eps": 1e-2},
    {"affine": False},
    {"bias": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False, "momentum": None},
    {"dtype": torch.float64},
]


def twins(ours: type, theirs: type, **options) -> tuple[nn.Module, nn.Module]:
    """Both layers with the same, non-trivial state."""
    reference = theirs(4, **options)
    with torch.no_grad():
        for tensor in (*reference.parameters(), *reference.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    layer = ours(4, **options)
    layer.load_state_dict(reference.state_dict())
    return layer, reference


def assert_same_state(ours: nn.Module, theirs: nn.Module, **bounds: float) -> None:
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, **bounds)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("ours", "theirs", "shape"), PAIRS)
def test_training_and_evaluation_agree_with_torch(ours, theirs, shape, options):
    layers = twins(ours, theirs, **options)
    dtype = options.get("dtype", torch.float32)
    optimizers = [
        torch.optim.SGD(layer.parameters(), lr=0.1) if list(layer.parameters()) else None
        for layer in layers
    ]
    for step in range(6):
        torch.manual_seed(step)
        x = torch.randn(shape, dtype=dtype) * 2 + 1
        gradients = []
        for layer, optimizer in zip(layers, optimizers, strict=True):
            layer.train(step != 3)  # back and forth between the modes
            inner = x.clone().requires_grad_()
            y = layer(inner)
            (y - x.tanh()).square().mean().backward()
            gradients.append((y, inner.grad))
            if optimizer:
                optimizer.step()
                optimizer.zero_grad()
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
        assert_same_state(*layers, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(*(layer.eval()(x) for layer in layers), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("ours", "theirs", "shape"), PAIRS)
def test_construction_matches_torch(ours, theirs, shape, options):
    layer, reference = ours(4, **options), theirs(4, **options)
    assert repr(layer) == repr(reference)
    assert isinstance(layer, theirs)
    for name in ("num_features", "eps", "momentum", "affine", "track_running_stats"):
        assert getattr(layer, name) == getattr(reference, name)
    assert_same_state(layer, reference, rtol=0, atol=0)
    reference.load_state_dict(layer.state_dict())
    assert [n for n, _ in layer.named_parameters()] == [n for n, _ in reference.named_parameters()]
    assert [n for n, _ in layer.named_buffers()] == [n for n, _ in reference.named_buffers()]


def test_state_saved_by_an_old_version_loads():
    layer = BatchNorm1d(3)
    state = {k: v for k, v in layer.state_dict().items() if k != "num_batches_tracked"}
    layer.load_state_dict(state)
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize(("ours", "theirs", "shape"), PAIRS)
def test_wrong_rank_and_single_values_fail_as_in_torch(ours, theirs, shape):
    for size in [(4,), (2, 4), (2, 4, 3), (2, 4, 3, 3), (2, 4, 3, 3, 3), (1, 4, 1, 1), (1, 4)]:
        outcomes = []
        for cls in (ours, theirs):
            try:
                outcomes.append(cls(4)(torch.zeros(size)).shape)
            except (ValueError, RuntimeError) as error:
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1], size
    with pytest.raises(RuntimeError, match="should contain 5 elements not 4"):
        ours(4)(torch.zeros(shape).repeat_interleave(2, 1)[:, :5])


def test_evaluation_without_running_statistics_uses_the_batch():
    x = torch.randn(20, 3) * 4 + 2
    y = BatchNorm1d(3, track_running_stats=False).eval()(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm1d(3, track_running_stats=False).eval()(x[:1])


def test_cumulative_average_weighs_batches_alike():
    layer, batches = BatchNorm1d(3, momentum=None), torch.randn(5, 16, 3)
    for batch in batches:
        layer(batch)
    torch.testing.assert_close(layer.running_mean, batches.mean((0, 1)))
    torch.testing.assert_close(layer.running_var, batches.var(1).mean(0))


def test_copy_pickle_and_safe_load():
    layer = twins(BatchNorm2d, nn.BatchNorm2d)[0]
    x = torch.randn(5, 4, 3, 3)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))
    assert twin.running_mean is not layer.running_mean
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh = BatchNorm2d(4)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh.eval()(x), layer.eval()(x))
    whole = io.BytesIO()
    torch.save(layer, whole)
    whole.seek(0)
    assert torch.equal(torch.load(whole, weights_only=False)(x), layer(x))


def test_moves_between_types():
    layer, reference = twins(BatchNorm2d, nn.BatchNorm2d)
    x = torch.randn(5, 4, 3, 3)
    for dtype in (torch.float64, torch.bfloat16):
        outputs = [m.to(dtype).eval()(x.to(dtype)) for m in (layer, reference)]
        torch.testing.assert_close(*outputs)
    assert BatchNorm2d(4, device="meta").weight.is_meta


# ---- the ecosystem -------------------------------------------------------------------------


def test_update_bn_recomputes_the_statistics():
    model = nn.Sequential(nn.Linear(4, 3), BatchNorm1d(3))
    batches = torch.randn(4, 10, 4)
    update_bn(batches, model)
    hidden = model[0](batches)
    torch.testing.assert_close(model[1].running_mean, hidden.mean((0, 1)))
    torch.testing.assert_close(model[1].running_var, hidden.var(1).mean(0))


def test_torchs_folding_and_synchronising_find_the_layer():
    conv, norm = nn.Conv2d(3, 4, 3).eval(), twins(BatchNorm2d, nn.BatchNorm2d)[0].eval()
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(fuse_conv_bn_eval(conv, norm)(x), norm(conv(x)))
    model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(conv, norm))
    assert isinstance(model[1], nn.SyncBatchNorm)


def test_data_parallel_broadcasts_the_buffers(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        model = nn.Sequential(nn.Linear(3, 4), BatchNorm1d(4))
        parallel = nn.parallel.DistributedDataParallel(model)
        names = {name for name, _ in parallel.module.named_buffers()}
        assert {b.data_ptr() for b in parallel.modules_buffers} == {
            b.data_ptr() for b in model.buffers()
        }
        assert names == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
        parallel(torch.randn(6, 3)).sum().backward()
        parallel(torch.randn(6, 3)).sum().backward()
        assert model[1].num_batches_tracked == 2
    finally:
        torch.distributed.destroy_process_group()


def test_checkpointing_gives_the_same_gradient():
    layer, x = BatchNorm1d(3), torch.randn(6, 3, requires_grad=True)
    (plain,) = torch.autograd.grad(layer(x).pow(3).sum(), x)
    y = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
    (checkpointed,) = torch.autograd.grad(y.pow(3).sum(), x)
    torch.testing.assert_close(checkpointed, plain)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_training_step_is_the_eager_one(backend):
    if backend == "inductor":
        for name in {machine.COMPILER, machine.HEADERS} & set(machine.lacking()):
            lacks(name)  # Inductor writes C++ and compiles it
    torch._dynamo.reset()
    x = torch.randn(4, 3, 8, 8)
    models = [small_net(), small_net()]
    compiled = torch.compile(models[1], fullgraph=True, backend=backend)
    for model, call in zip(models, (models[0], compiled), strict=True):
        call(x).pow(2).sum().backward()
        model.eval()
    assert_same_state(models[1], models[0], rtol=1e-4, atol=1e-5)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(compiled(x), models[0](x), rtol=1e-4, atol=1e-5)


def test_exported_evaluation_is_the_eager_one():
    model, x = small_net().eval(), torch.randn(4, 3, 8, 8)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    for size in (4, 1, 9):
        given = torch.randn(size, 3, 8, 8)
        torch.testing.assert_close(program.module()(given), model(given))


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_export_runs_elsewhere(tmp_path):
    for module in ("onnx", "onnxscript"):
        require(module)
    runtime = require("onnxruntime")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    model, x = small_net().eval(), torch.randn(4, 3, 8, 8)
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (x,), str(path), dynamo=True, verbose=False)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(x).detach(), rtol=1e-5, atol=1e-5)


def test_the_package_offers_the_layers():
    assert bnlib.BatchNorm2d is BatchNorm2d
    assert bnlib.GhostBatchNorm is GhostBatchNorm
