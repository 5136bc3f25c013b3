"""The data sets of the book: verified, cached, never silently another set.

`digits` ships with scikit-learn and needs no network. `fashion_mnist` and `cifar10`
are looked for in the cache, in Debian's package (Fashion-MNIST only) and then
downloaded from the set's own address. Whatever the source, the decompressed bytes
must have the SHA-256 written below: a file that differs is refused by name.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bnlib.files import atomic_write

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_ADDRESS = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
CIFAR_ADDRESS = "https://www.cs.toronto.edu/~kriz/"

# SHA-256 of the decompressed bytes: gzip headers differ from one source to another.
FASHION_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR_ARCHIVE_HASH = "md5:c32a1d4ab5d03f1284b67883e8d87530"  # as published beside the archive
CIFAR_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


class DataError(RuntimeError):
    """A data set is missing, damaged or cannot be stored; the message says what to run."""


@dataclass(frozen=True)
class ImageData:
    """A classification set of images.

    Attributes
    ----------
    name : str
        Name of the set.
    x_train, x_test : Tensor
        Images, shape (N, C, H, W), float32. Pixels lie in [0, 1] before `standardize`.
    y_train, y_test : Tensor
        Class numbers, shape (N,), int64.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.y_train.max()) + 1

    def standardize(self) -> ImageData:
        """Shift and scale all pixels by the training set's one mean and standard deviation."""
        std, mean = torch.std_mean(self.x_train)
        return replace(self, x_train=(self.x_train - mean) / std, x_test=(self.x_test - mean) / std)

    def flat(self) -> ImageData:
        """Return the set with each image as one row, shape (N, C*H*W)."""
        return replace(self, x_train=self.x_train.flatten(1), x_test=self.x_test.flatten(1))

    def pooled(self, factor: int) -> ImageData:
        """Average each image over blocks of ``factor`` x ``factor`` pixels."""
        pool = torch.nn.functional.avg_pool2d
        return replace(self, x_train=pool(self.x_train, factor), x_test=pool(self.x_test, factor))

    def validation_split(self, size: int = 5000) -> ImageData:
        """Return the training set alone, its last ``size`` images held out as the test set.

        Learning rates are chosen here, so that no choice ever sees the real test set.

        Raises
        ------
        ValueError
            If ``size`` leaves no image on one of the two sides.
        """
        n = len(self.x_train)
        if not 0 < size < n:
            raise ValueError(f"size must lie between 1 and {n - 1}, got {size}")
        x, y = self.x_train, self.y_train
        return ImageData(self.name, x[:-size], y[:-size], x[-size:], y[-size:])

    def subset(self, size: int, seed: int) -> ImageData:
        """Return the set with ``size`` random training images; the test set stays whole.

        Raises
        ------
        ValueError
            If there are fewer than ``size`` training images, or ``size`` is not positive.
        """
        n = len(self.x_train)
        if not 0 < size <= n:
            raise ValueError(f"size must lie between 1 and {n}, got {size}")
        rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:size]
        return replace(self, x_train=self.x_train[rows], y_train=self.y_train[rows])


def digits(test_size: int = 360, seed: int = 0) -> ImageData:
    """Return scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, split at random.

    Parameters
    ----------
    test_size : int
        Number of images in the test set.
    seed : int
        Seed of the split.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.tensor(raw.images / 16.0, dtype=torch.float32).unsqueeze(1)  # (1797, 1, 8, 8)
    y = torch.tensor(raw.target, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    test, train = order[:test_size], order[test_size:]
    return ImageData("digits", x[train], y[train], x[test], y[test])


def fashion_mnist(cache: Path | str | None = None, *, download: bool = True) -> ImageData:
    """Return Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 pixels.

    Parameters
    ----------
    cache : path, optional
        Folder of the cached files; `cache_folder` by default.
    download : bool
        Whether sources outside this machine may be asked.

    Raises
    ------
    DataError
        If the set is nowhere to be had, is damaged, or the cache cannot be written.

    Notes
    -----
    Source: Xiao, Rasul & Vollgraf (2017), arXiv 1708.07747.
    """
    folder = cache_folder(cache) / "fashion-mnist"
    raw = {name: _fashion_bytes(name, folder, download) for name in FASHION_SHA256}
    images = [_idx(raw[f"{part}-images-idx3-ubyte"]).unsqueeze(1) for part in ("train", "t10k")]
    labels = [_idx(raw[f"{part}-labels-idx1-ubyte"]) for part in ("train", "t10k")]
    x_train, x_test = (x.to(torch.float32) / 255.0 for x in images)
    y_train, y_test = (y.to(torch.int64) for y in labels)
    return ImageData("fashion-mnist", x_train, y_train, x_test, y_test)


@cache
def prepared(validation: bool = False, flat: bool = True, factor: int = 1) -> ImageData:
    """Return Fashion-MNIST as the experiments use it, kept in memory: do not write into it.

    Parameters
    ----------
    validation : bool
        Whether to leave the test set out and hold 5,000 training images back in its place.
    flat : bool
        Whether an image is one row.
    factor : int
        Edge of the blocks of pixels that are averaged: 2 gives 14 x 14 pixels.
    """
    data = fashion_mnist()
    data = (data.pooled(factor) if factor > 1 else data).standardize()
    data = data.flat() if flat else data
    return data.validation_split() if validation else data


def cifar10(cache: Path | str | None = None, *, download: bool = True) -> ImageData:
    """Return CIFAR-10: 50,000 training and 10,000 test images of 3 x 32 x 32 pixels.

    The files are those of the set's binary version (each record one label byte and
    3,072 pixels), looked for in ``cache/cifar-10-batches-bin``.

    Parameters
    ----------
    cache, download
        As in `fashion_mnist`.

    Raises
    ------
    DataError
        If a file is missing and cannot be downloaded, or has not a whole number of records.
    """
    folder = cache_folder(cache) / "cifar-10-batches-bin"
    missing = [name for name in CIFAR_FILES if not (folder / name).exists()]
    if missing:
        _fetch_cifar(folder, missing, download)
    parts = [_cifar_records(folder / name) for name in CIFAR_FILES]
    x = torch.cat([x for x, _ in parts[:-1]])
    y = torch.cat([y for _, y in parts[:-1]])
    return ImageData("cifar10", x, y, *parts[-1])


def cache_folder(cache: Path | str | None = None) -> Path:
    """Return the folder for data: the argument, ``$BNLIB_DATA`` or the user's cache folder."""
    if cache is not None:
        return Path(cache)
    if "BNLIB_DATA" in os.environ:
        return Path(os.environ["BNLIB_DATA"])
    from platformdirs import user_cache_path

    return user_cache_path("bnlib")


# --- Fashion-MNIST ------------------------------------------------------------------


def _fashion_bytes(name: str, folder: Path, download: bool) -> bytes:
    """Return the decompressed file ``name`` from the first source that has it, and cache it."""
    cached = folder / f"{name}.gz"
    if cached.exists():
        return _checked(cached.read_bytes(), name, cached)
    reasons = []
    for source, fetch in _fashion_sources(download):
        try:
            packed = fetch(name)
        except Exception as error:  # any failure of a source only means: ask the next one
            reasons.append(f"{source}: {error}")
            continue
        if packed is not None:
            raw = _checked(packed, name, Path(source))
            _store(cached, packed)
            return raw
        reasons.append(f"{source}: not there")
    raise DataError(
        f"Fashion-MNIST's file {name} was found nowhere ({'; '.join(reasons)}). Install Debian's "
        f"package dataset-fashion-mnist, or put {name}.gz into {folder}, "
        "then run: bnlib data fetch fashion-mnist"
    )


def _fashion_sources(download: bool) -> Iterator[tuple[str, Callable[[str], bytes | None]]]:
    yield str(DEBIAN_FOLDER), _from_debian_folder
    if download and shutil.which("apt-get") and shutil.which("dpkg"):
        yield "Debian's package dataset-fashion-mnist", _from_debian_package
    if download:
        yield FASHION_ADDRESS, _from_address


def _from_debian_folder(name: str) -> bytes | None:
    path = DEBIAN_FOLDER / f"{name}.gz"
    return path.read_bytes() if path.exists() else None


def _from_debian_package(name: str) -> bytes:
    """Unpack Debian's package into a temporary folder: this needs no root."""
    with tempfile.TemporaryDirectory() as folder:
        fetch = ["apt-get", "download", "-q", "dataset-fashion-mnist"]
        subprocess.run(fetch, cwd=folder, check=True, capture_output=True, timeout=300)
        package = next(Path(folder).glob("*.deb"))
        subprocess.run(["dpkg", "-x", str(package), folder], check=True, capture_output=True)
        return (Path(folder) / DEBIAN_FOLDER.relative_to("/") / f"{name}.gz").read_bytes()


def _from_address(name: str) -> bytes:
    return _download(f"{FASHION_ADDRESS}{name}.gz")


def _checked(packed: bytes, name: str, source: Path) -> bytes:
    """Return the decompressed bytes if they are exactly those of the published file."""
    remedy = f"Delete {source} and run: bnlib data fetch fashion-mnist"
    try:
        raw = gzip.decompress(packed)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{source} is truncated or damaged ({error}). {remedy}") from error
    if hashlib.sha256(raw).hexdigest() != FASHION_SHA256[name]:
        raise DataError(f"{source} is not the published {name}: its SHA-256 differs. {remedy}")
    return raw


def _idx(raw: bytes) -> Tensor:
    """Decode the IDX format: two zero bytes, type 8 (unsigned byte), rank, sizes, values."""
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", count=rank, offset=4).astype(int)
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    return torch.from_numpy(values.reshape(shape).copy())


# --- CIFAR-10 -----------------------------------------------------------------------


def _cifar_records(path: Path) -> tuple[Tensor, Tensor]:
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    if len(raw) == 0 or len(raw) % 3073:
        raise DataError(
            f"{path} is truncated: {len(raw)} bytes are no whole number of 3,073-byte records. "
            "Delete it and run: bnlib data fetch cifar10"
        )
    records = torch.from_numpy(raw.reshape(-1, 3073).copy())
    if int(records[:, 0].max()) > 9:
        raise DataError(
            f"{path} is damaged: it holds labels above 9. "
            "Delete it and run: bnlib data fetch cifar10"
        )
    images = records[:, 1:].reshape(-1, 3, 32, 32).to(torch.float32) / 255.0
    return images, records[:, 0].to(torch.int64)


def _fetch_cifar(folder: Path, missing: list[str], download: bool) -> None:
    import io
    import tarfile

    if not download:
        raise DataError(f"{folder} lacks {', '.join(missing)}. Run: bnlib data fetch cifar10")
    try:
        packed = _download(CIFAR_ADDRESS + CIFAR_ARCHIVE, CIFAR_ARCHIVE_HASH)
    except Exception as error:
        raise DataError(
            f"CIFAR-10 could not be downloaded from {CIFAR_ADDRESS} ({error}). "
            f"Unpack {CIFAR_ARCHIVE} into {folder.parent}"
        ) from error
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for name in missing:
            member = archive.extractfile(f"cifar-10-batches-bin/{name}")
            assert member is not None
            _store(folder / name, member.read())


# --- files ----------------------------------------------------------------------------


def _download(address: str, known_hash: str | None = None) -> bytes:
    """Fetch one file with a progress bar."""
    import pooch

    with tempfile.TemporaryDirectory() as folder:
        path = pooch.retrieve(
            address,
            known_hash=known_hash,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=True),
        )
        return Path(path).read_bytes()


def _store(path: Path, content: bytes) -> None:
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise DataError(
            f"The data folder {path.parent} cannot be written ({error}). "
            "Set BNLIB_DATA to a folder that can."
        ) from error
