"""bnlib.to_torch and bnlib.from_torch, and lazy layers."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import bnlib
from bnlib.exchange import TO_TORCH

OPTIONS = [
    {},
    {"momentum": None},
    {"eps": 1e-2, "momentum": 0.3},
    {"affine": False},
    {"bias": False},
    {"track_running_stats": False},
    {"dtype": torch.float64},
    {"device": "meta"},
]
PAIRS = [pair for pair in TO_TORCH.items() if "Lazy" not in pair[0].__name__]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1].__name__)
@pytest.mark.parametrize("back", [False, True])
def test_everything_but_the_class_stays(pair, options, back):
    old, new = reversed(pair) if back else pair
    exchange = bnlib.from_torch if back else bnlib.to_torch
    layer = old(3, **options).eval().requires_grad_(False)
    calls = []
    layer.register_forward_hook(lambda *_: calls.append("hook"))
    layer.note = "kept"
    model = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer), "c": nn.Linear(1, 1)})
    before, attributes = dict(model.state_dict(keep_vars=True)), dict(vars(layer))
    assert exchange(model) is model
    assert type(model["a"]) is new
    assert model["a"] is model["b"][0] is layer
    assert vars(layer) == attributes
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[name] is value for name, value in before.items())
    exchange(model)  # a second time there is nothing to do
    assert type(layer) is new
    if options.get("device") != "meta":
        x = torch.randn(
            5, 3, *[4] * (3 if "3d" in new.__name__ else 2 if "2d" in new.__name__ else 0)
        )
        y = layer(x.to(options.get("dtype", torch.float32)))
        twin = old(3, **options).eval()
        torch.testing.assert_close(y, twin(x.to(y.dtype)).detach())
        assert calls == ["hook"]


def test_a_single_layer_and_an_optimizer_that_knows_it():
    layer = bnlib.BatchNorm1d(3)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    assert type(bnlib.to_torch(layer)) is nn.BatchNorm1d
    layer(torch.randn(5, 3)).pow(3).sum().backward()
    optimizer.step()
    assert not torch.equal(layer.weight, torch.ones(3))
    assert layer.num_batches_tracked == 1
    assert type(bnlib.from_torch(layer)) is bnlib.BatchNorm1d


class Mine(bnlib.BatchNorm2d):
    pass


class Theirs(nn.BatchNorm2d):
    pass


REFUSED = [
    (bnlib.to_torch, bnlib.GhostBatchNorm(3, 2), "GhostBatchNorm"),
    (bnlib.to_torch, Mine(3), "Mine"),
    (bnlib.from_torch, Theirs(3), "Theirs"),
    (bnlib.from_torch, nn.SyncBatchNorm(3), "SyncBatchNorm"),
]


@pytest.mark.parametrize(("exchange", "layer", "name"), REFUSED)
def test_layers_without_counterpart_are_refused_and_nothing_is_exchanged(exchange, layer, name):
    model = nn.Sequential(bnlib.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Sequential(layer))
    kinds = [type(m) for m in model.modules()]
    with pytest.raises(TypeError, match=rf"layer '2\.0' is a .*{name}, which has no counterpart"):
        exchange(model)
    assert [type(m) for m in model.modules()] == kinds
    with pytest.raises(TypeError, match="the model itself"):
        exchange(layer)


def test_layers_of_the_other_side_are_left_alone():
    theirs = nn.Sequential(Theirs(3), nn.SyncBatchNorm(3), nn.InstanceNorm1d(3))
    ours = nn.Sequential(bnlib.GhostBatchNorm(3, 2), Mine(3))
    for exchange, model in ((bnlib.to_torch, theirs), (bnlib.from_torch, ours)):
        kinds = [type(m) for m in model]
        assert [type(m) for m in exchange(model)] == kinds


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"track_running_stats": False}], ids=str
)
def test_lazy_layers(rank, options):
    name, x = f"LazyBatchNorm{rank}d", torch.randn(6, 5, *[3] * rank)
    ours, theirs = (getattr(family, name)(**options) for family in (bnlib, nn))
    exchanged = bnlib.from_torch(getattr(nn, name)(**options))
    assert type(exchanged) is type(ours)
    assert type(bnlib.to_torch(exchanged)) is type(theirs)
    y = theirs(x)
    for layer in (ours, bnlib.from_torch(exchanged)):
        torch.testing.assert_close(layer(x), y)
        assert type(layer) is getattr(bnlib, f"BatchNorm{rank}d")
        assert layer.num_features == 5
        torch.testing.assert_close(layer.state_dict(), theirs.state_dict())


def test_synchronising_says_that_virtual_batches_go():
    model = nn.Sequential(bnlib.GhostBatchNorm(3, 2), bnlib.BatchNorm1d(3))
    with pytest.warns(UserWarning, match="without its virtual batches of 2"):
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = nn.Sequential(bnlib.GhostBatchNorm(3, 2)).apply(lambda _: None)
        assert list(quiet[0].named_children()) == []
        nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(bnlib.BatchNorm1d(3)))
