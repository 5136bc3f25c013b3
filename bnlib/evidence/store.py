"""The results store: one Parquet file per experiment with a JSON file of its provenance.

``NAME.parquet`` holds the measurements, ``NAME.tuning.parquet`` those that learning rates were
chosen from, ``NAME.json`` where both come from. There are no pickles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bnlib.files import atomic_write

CHECKOUT = Path(__file__).parents[2]


class ResultsError(RuntimeError):
    """Results are missing or damaged; the message says what to run."""


def results_folder(folder: Path | str | None = None) -> Path:
    """Return the folder of the results: the argument, the checkout's or the installed one."""
    if folder is not None:
        return Path(folder)
    in_checkout = CHECKOUT / "results"
    if (CHECKOUT / "pyproject.toml").exists() and in_checkout.is_dir():
        return in_checkout
    return Path(__file__).parents[1] / "_results"


def existing_folder(folder: Path | str | None = None) -> Path:
    """Return the folder of the results, which must be there: a mistyped one holds nothing.

    Raises
    ------
    ResultsError
        If there is no such folder.
    """
    found = results_folder(folder)
    if not found.is_dir():
        raise ResultsError(
            f"there is no folder of results {found}; to make one: bnlib run NAME --results {found}"
        )
    return found


def load_results(
    name: str, results: Path | str | None = None, *, part: str | None = None
) -> pd.DataFrame:
    """Return the stored measurements of an experiment, in tidy form.

    Parameters
    ----------
    name : str
        Name of the experiment, as in ``bnlib list``.
    results : path, optional
        Folder to read; by default the results that come with the package.
    part : str, optional
        ``"tuning"`` for the runs that learning rates were chosen from.

    Returns
    -------
    DataFrame
        One row per measurement: the run's factors, then ``step``, ``metric``, ``value``.

    Raises
    ------
    ResultsError
        If there is no such result, or its file is damaged or cannot be read.
    """
    path = _table_path(name, results_folder(results), part)
    if not path.exists():
        raise ResultsError(f"there is no result {path.name}; run: bnlib run {name}")
    try:
        table = read_table(path)
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None):  # the system's, not the file's
            raise ResultsError(f"{path} cannot be read: {error}") from error
        raise ResultsError(f"{path} is damaged ({error}); run: bnlib run {name}") from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def has_results(name: str, results: Path | str | None = None, part: str | None = None) -> bool:
    """Say whether there is a stored result of that name."""
    return _table_path(name, results_folder(results), part).exists()


def save_results(
    name: str,
    table: pd.DataFrame,
    results: Path | str | None = None,
    *,
    part: str | None = None,
) -> Path:
    """Write the measurements of an experiment, atomically, and return their file."""
    path = _table_path(name, results_folder(results), part)
    write_table(path, table, {"experiment": name})
    return path


def provenance(name: str, results: Path | str | None = None) -> dict[str, Any]:
    """Return where a result comes from.

    Keys: experiment, seeds, runs, grid_hash, code_hash, claims_hash, versions, commit, clean,
    date, cpu, wall_seconds, core_seconds; with tuning also tuned and tuning.

    Raises
    ------
    ResultsError
        If there is none or it cannot be read.
    """
    path = results_folder(results) / f"{name}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultsError(f"there is no result {path.name}; run: bnlib run {name}") from error
    except ValueError as error:
        raise ResultsError(f"{path} is damaged ({error}); run: bnlib run {name}") from error
    if not isinstance(found, dict):
        raise ResultsError(f"{path} is damaged (it holds no object); run: bnlib run {name}")
    return _Facts(found, path, name)


class _Facts(dict[str, Any]):
    """What a result's provenance says; a fact that it lacks is an error that names the file."""

    def __init__(self, facts: dict[str, Any], path: Path, name: str) -> None:
        super().__init__(facts)
        self._place = path, name

    def __missing__(self, key: str) -> Any:
        path, name = self._place
        raise ResultsError(f"{path} is damaged (it lacks {key}); run: bnlib run {name}")


def save_provenance(name: str, content: dict[str, Any], results: Path | str | None = None) -> Path:
    """Write the provenance of a result, atomically, and return its file."""
    path = results_folder(results) / f"{name}.json"
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
    return path


def _table_path(name: str, folder: Path, part: str | None) -> Path:
    return folder / (f"{name}.{part}.parquet" if part else f"{name}.parquet")


def write_table(path: Path, table: pd.DataFrame, metadata: dict[str, str]) -> None:
    """Write Parquet with page checksums, by an atomic rename within the folder."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **_bytes(metadata)})
    with atomic_write(path) as file:
        pq.write_table(arrow, file, write_page_checksum=True, compression="zstd")


def _bytes(metadata: dict[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in metadata.items()}


def read_table(path: Path) -> pa.Table:
    """Read Parquet, its checksums compared; an error of the system has an ``errno``, damage none.

    Raises
    ------
    OSError, pyarrow.ArrowException
        If the file cannot be read or is damaged.
    """
    with path.open("rb") as file:  # by pyarrow a folder would be damage
        # threads would gain nothing on tables of this size
        return pq.ParquetFile(file, page_checksum_verification=True).read(use_threads=False)
