"""Data: the published files pass, and nothing else does."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import lacks, require_program

from bnlib.lab import data
from bnlib.lab.data import DataError


@pytest.fixture(scope="module")
def fashion() -> data.ImageData:
    try:
        return data.fashion_mnist()
    except DataError as error:
        lacks(f"Fashion-MNIST ({error})")


@pytest.fixture
def cache(tmp_path: Path, fashion: data.ImageData) -> Path:
    """Make a cache of its own with the four genuine files."""
    source = data.cache_folder() / "fashion-mnist"
    shutil.copytree(source, tmp_path / "fashion-mnist")
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Cut off every source but the cache; return the log of what was asked."""
    asked: list[str] = []

    def refuse(address: str, known_hash: str | None = None) -> bytes:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path / "nowhere")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(data, "_download", refuse)
    return asked


def test_fashion_mnist_is_the_published_set(fashion: data.ImageData) -> None:
    assert fashion.x_train.shape == (60_000, 1, 28, 28)
    assert fashion.x_test.shape == (10_000, 1, 28, 28)
    assert torch.bincount(fashion.y_train).tolist() == [6000] * 10
    assert torch.bincount(fashion.y_test).tolist() == [1000] * 10
    assert (fashion.x_train.min(), fashion.x_train.max()) == (0.0, 1.0)
    assert fashion.classes == 10


def test_gzip_header_does_not_matter(cache: Path, offline: list[str]) -> None:
    path = cache / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=12345))
    assert len(data.fashion_mnist(cache).y_test) == 10_000


def test_one_altered_byte_is_refused_by_name(cache: Path, offline: list[str]) -> None:
    path = cache / "fashion-mnist" / "train-labels-idx1-ubyte.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[1000] ^= 1
    path.write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(DataError, match=r"train-labels.*SHA-256 differs.*bnlib data fetch"):
        data.fashion_mnist(cache)
    assert path.exists(), "bad input is named, not deleted"


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_truncated_file_is_refused_by_name(cache: Path, offline: list[str], keep: int) -> None:
    path = cache / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"t10k-labels.*(truncated|differs)"):
        data.fashion_mnist(cache)


def test_missing_without_network_says_what_to_run(tmp_path: Path, offline: list[str]) -> None:
    with pytest.raises(DataError, match=r"found nowhere.*no network.*bnlib data fetch"):
        data.fashion_mnist(tmp_path / "empty")
    assert offline, "the address was asked"


def test_download_false_asks_nobody(tmp_path: Path, offline: list[str]) -> None:
    with pytest.raises(DataError, match="found nowhere"):
        data.fashion_mnist(tmp_path / "empty", download=False)
    assert not offline


def test_debian_folder_fills_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: list[str]
) -> None:
    monkeypatch.setattr(data, "DEBIAN_FOLDER", cache / "fashion-mnist")
    fresh = tmp_path / "fresh"
    first = data.fashion_mnist(fresh)
    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path / "nowhere")
    second = data.fashion_mnist(fresh)
    assert torch.equal(first.x_test, second.x_test)
    assert not offline


def test_altered_source_does_not_enter_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: list[str]
) -> None:
    path = cache / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(b"not the images"))
    monkeypatch.setattr(data, "DEBIAN_FOLDER", cache / "fashion-mnist")
    fresh = tmp_path / "fresh"
    with pytest.raises(DataError, match="SHA-256 differs"):
        data.fashion_mnist(fresh)
    assert not (fresh / "fashion-mnist" / path.name).exists()


def test_unwritable_cache_is_one_clear_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: list[str]
) -> None:
    monkeypatch.setattr(data, "DEBIAN_FOLDER", cache / "fashion-mnist")
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot be written.*BNLIB_DATA"):
        data.fashion_mnist(blocked)


def test_digits_split_is_disjoint_and_repeatable() -> None:
    a, b = data.digits(), data.digits()
    assert torch.equal(a.x_train, b.x_train)
    assert a.x_train.shape == (1437, 1, 8, 8)
    assert a.x_test.shape == (360, 1, 8, 8)
    from sklearn.datasets import load_digits

    total = float(load_digits().images.sum()) / 16
    assert float(a.x_train.sum() + a.x_test.sum()) == pytest.approx(total)


def test_pooled_averages_blocks_and_standardize_uses_the_training_set() -> None:
    d = data.digits()
    pooled = d.pooled(2)
    assert pooled.x_train.shape == (1437, 1, 4, 4)
    torch.testing.assert_close(pooled.x_train[0, 0, 0, 0], d.x_train[0, 0, :2, :2].mean())
    s = d.standardize()
    assert abs(float(s.x_train.mean())) < 1e-5
    assert abs(float(s.x_train.std()) - 1) < 1e-5
    assert abs(float(s.x_test.mean())) > 1e-5


def test_validation_split_never_holds_a_test_image() -> None:
    d = data.digits()
    v = d.validation_split(100)
    assert torch.equal(torch.cat([v.x_train, v.x_test]), d.x_train)
    for size in (0, len(d.x_train)):
        with pytest.raises(ValueError, match="size must lie between"):
            d.validation_split(size)


def test_subset_takes_different_training_images_and_all_test_images() -> None:
    d = data.digits()
    s = d.subset(50, seed=1)
    rows = {tuple(row.flatten().tolist()) for row in s.x_train}
    assert len(s.y_train) == 50
    assert len(rows) == 50
    assert rows <= {tuple(row.flatten().tolist()) for row in d.x_train}
    assert torch.equal(s.x_test, d.x_test)
    assert not torch.equal(s.x_train, d.subset(50, seed=2).x_train)
    for size in (0, len(d.x_train) + 1):
        with pytest.raises(ValueError, match="size must lie between"):
            d.subset(size, 0)


def test_prepared_is_standardized_pooled_and_apart_from_the_test_set(
    fashion: data.ImageData,
) -> None:
    whole, held = data.prepared(flat=False, factor=2), data.prepared(validation=True)
    assert whole.x_test.shape == (10_000, 1, 14, 14)
    assert whole.x_train.mean().item() == pytest.approx(0, abs=1e-5)
    assert whole.x_train.std().item() == pytest.approx(1, abs=1e-5)
    assert held.x_test.shape == (5_000, 784)
    assert torch.equal(held.x_test, fashion.standardize().flat().x_train[-5000:])


def write_cifar(folder: Path, records: int = 4) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in data.CIFAR_FILES:
        raw = rng.integers(0, 256, (records, 3073), dtype=np.uint8)
        raw[:, 0] = np.arange(records) % 10
        (folder / name).write_bytes(raw.tobytes())


def test_cifar10_reads_the_binary_format(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar(folder)
    d = data.cifar10(tmp_path)
    assert d.x_train.shape == (20, 3, 32, 32)
    assert d.y_test.tolist() == [0, 1, 2, 3]
    raw = np.frombuffer((folder / "test_batch.bin").read_bytes(), np.uint8)
    # the format: one label byte, then 1,024 red, green and blue values, row by row
    assert float(d.x_test[0, 1, 0, 2]) == pytest.approx(raw[1 + 1024 + 2] / 255)


def test_cifar10_errors(tmp_path: Path, offline: list[str]) -> None:
    with pytest.raises(DataError, match=r"could not be downloaded.*cifar-10-binary"):
        data.cifar10(tmp_path / "a")
    with pytest.raises(DataError, match="bnlib data fetch cifar10"):
        data.cifar10(tmp_path / "a", download=False)
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar(folder)
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"data_batch_3.bin is truncated"):
        data.cifar10(tmp_path)
    path.write_bytes(b"\xff" * 3073)
    with pytest.raises(DataError, match=r"data_batch_3.bin is damaged"):
        data.cifar10(tmp_path)


@pytest.mark.slow
def test_debian_package_is_a_source_without_root(tmp_path: Path) -> None:
    require_program("apt-get")
    probe = subprocess.run(
        ["apt-get", "download", "--print-uris", "-q", "dataset-fashion-mnist"],
        capture_output=True, check=False,
    )  # fmt: skip
    if probe.returncode:
        lacks("Debian's package dataset-fashion-mnist")
    packed = data._from_debian_package("t10k-labels-idx1-ubyte")
    assert data._checked(packed, "t10k-labels-idx1-ubyte", tmp_path)


def test_files_are_readable_by_others(tmp_path: Path) -> None:
    data._store(tmp_path / "new" / "file", b"x")
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o644
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file"]
