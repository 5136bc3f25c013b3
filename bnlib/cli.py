"""The command ``bnlib``: list and run experiments, verify results, print claims, fetch data."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from bnlib import experiments
from bnlib.book.ledger import COLUMNS, ledger, turned
from bnlib.evidence import runner, signals
from bnlib.evidence import verify as verification
from bnlib.evidence.store import ResultsError, existing_folder
from bnlib.evidence.sweep import SweepError, SweepInterrupted, connect, process_pool
from bnlib.lab.data import DataError, ImageData, cifar10, digits, fashion_mnist
from bnlib.terminal import console, flush, legible, prepare, say

app = typer.Typer(
    help="Batch normalization, claim by claim: run the experiments, judge the claims.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Fetch the data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
out, err = console(), console(stderr=True)

Results = Annotated[Path | None, typer.Option(help="Folder of results instead of the book's own.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; one per processor by default.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler, tcp://…")]
DATA_SETS: dict[str, Callable[[], ImageData]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
}


class UsageError(ValueError):
    """What was asked for makes no sense; the message says what does."""


@app.command("list")
def list_experiments(seeds: Annotated[str | None, typer.Option(help="First:end.")] = None) -> None:
    """List the experiments, their runs and what they cost."""
    table = _table("experiment", "what it asks", "runs", "core-minutes")
    total = 0.0
    for experiment in experiments.load_all():
        cost = runner.cost(experiment, parse_seeds(seeds))
        total += cost.core_seconds
        minutes = f"{cost.core_seconds / 60:.1f}"
        _add(table, experiment.name, experiment.title, str(cost.runs), minutes)
    out.print(table)
    out.print(f"all together: {total / 60:.1f} core-minutes")


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="An experiment of `bnlib list`, or all.")],
    seeds: Annotated[str | None, typer.Option(help="Other seeds, as first:end.")] = None,
    results: Results = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
) -> None:
    """Run an experiment and store its results; interrupted, the same command resumes."""
    chosen = experiments.load_all() if name == "all" else [experiments.load(name)]
    executor = connect(scheduler) if scheduler else None
    other = parse_seeds(seeds)
    for experiment in chosen:
        cost = runner.cost(experiment, other)
        minutes = f"{cost.core_seconds / 60:.1f}"
        say(err, f"{experiment.name}: {cost.runs} runs, about {minutes} core-minutes")
        with _progress() as tell:
            path = runner.run_experiment(
                experiment,
                seeds=other,
                results=results,
                executor=executor,
                jobs=jobs,
                progress=tell,
                report=lambda text: say(err, text),
            )
        say(out, f"{path} written")


@app.command()
def verify(
    sample: Annotated[int, typer.Option(min=1, help="How many runs to repeat.")] = 6,
    seed: Annotated[int, typer.Option(help="Seed of the choice of runs.")] = 0,
    name: Annotated[str | None, typer.Argument(help="One experiment; all by default.")] = None,
    results: Results = None,
    jobs: Jobs = None,
    restamp: Annotated[
        bool, typer.Option("--restamp", help="Where the sample agrees, record the code's hash.")
    ] = False,
) -> None:
    """Repeat a random sample of the stored runs and compare; exit 1 where they differ."""
    chosen = [experiments.load(name)] if name else experiments.load_all()
    folder = existing_folder(results)
    with process_pool(jobs) as pool:
        checks = verification.verify(
            chosen, sample=sample, seed=seed, executor=pool, results=results, on_check=_tell_check
        )
    if not checks:
        which = f"of {name} " if name else ""
        raise ResultsError(
            f"there is nothing to verify: {folder} holds no results {which}but timings, if any"
        )
    failed = {check.experiment for check in checks if not check.agrees}
    sampled = {check.experiment for check in checks}
    stale = [e for e in verification.outdated(chosen, results) if e.name not in failed]
    for experiment in stale:
        if restamp and experiment.name in sampled:
            verification.restamp(experiment, results)
            say(out, f"{experiment.name}: the sample agrees, the code's new hash is recorded")
    unstamped = [e.name for e in verification.outdated(chosen, results)]
    if unstamped and not failed:
        say(
            err,
            f"the code behind {', '.join(unstamped)} changed since the results were made; "
            "if it should not matter, run: bnlib verify NAME --restamp; else: bnlib run NAME",
        )
    for name_ in sorted(failed):
        say(err, f"{name_}: stored results are not what the code gives; run: bnlib run {name_}")
    exact, tight, loose = (sum(getattr(c, k) for c in checks) for k in ("exact", "tight", "loose"))
    say(
        out,
        f"{len(checks)} runs repeated, {sum(not c.agrees for c in checks)} differ; compared: "
        f"{exact:,} values to the bit, {tight:,} tightly, {loose:,} loosely",
    )
    if failed or unstamped:
        raise typer.Exit(1)


@app.command()
def claims(
    results: Results = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="Folder of other results: print what they turn instead.")
    ] = None,
) -> None:
    """Print every claim with its verdict, computed from the results."""
    rows = ledger(results)
    if against is not None:
        _compare(ledger(against), rows)
        return
    if as_json:
        # Not through rich, which would wrap lines; in ASCII, which every encoding has.
        print(json.dumps(_records(rows[list(COLUMNS)]), indent=2))
        return
    table = _table("claim", "estimate", "95% interval", "p (Holm)", "n", "verdict")
    for row in rows.to_dict("records"):
        interval = f"{_number(row['ci_low'])} to {_number(row['ci_high'])}" if row["n"] else ""
        p = "" if math.isnan(row["p"]) else f"{row['p']:.2g}"
        estimate = f"{_number(row['estimate'])} {row['unit']}" if row["n"] else ""
        _add(table, row["id"], estimate, interval, p, str(row["n"]), row["verdict"])
    out.print(table)


def _compare(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Print the verdicts that differ; exit 1 where a reproduction has failed."""
    changes = turned(before, after)
    for row in changes.to_dict("records"):
        failure = " (failure)" if row["broken"] else ""
        say(out, f"{row['id']}: {row['before']}, now {row['after']}{failure}")
    say(out, f"{len(after)} claims, {len(changes)} verdicts differ")
    if changes["broken"].any():
        raise typer.Exit(1)


@data_app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="fashion-mnist, cifar10 or digits.")]) -> None:
    """Find or download a data set, check it and keep it in the cache."""
    if name not in DATA_SETS:
        raise UsageError(f"there is no data set {name!r}; there are: {', '.join(DATA_SETS)}")
    found = DATA_SETS[name]()
    say(out, f"{name}: {len(found.x_train)} training and {len(found.x_test)} test images, checked")


def parse_seeds(text: str | None) -> range | None:
    """Return ``range(a, b)`` for "a:b".

    Raises
    ------
    UsageError
        If the text is no such pair or the range is empty.
    """
    if text is None:
        return None
    pair = re.fullmatch(r"\s*([0-9]+)\s*:\s*([0-9]+)\s*", text)
    if pair is None or not int(pair[1]) < int(pair[2]):
        raise UsageError(f"--seeds takes first:end such as 1000:1010, got {text!r}")
    return range(int(pair[1]), int(pair[2]))


def main() -> None:
    """Run the command; every expected error is one line, and the exit status tells it."""
    prepare()
    signals.raise_stopped()
    status = _status()
    with suppress(OSError):
        flush(sys.stderr)
    try:
        flush(sys.stdout)
    except BrokenPipeError:  # who reads has seen enough, as in `bnlib claims | head`
        status = status or 1
    except OSError as error:
        status = _failed(f"the output cannot be written: {error.strerror}")
    sys.exit(status)


def _status() -> int:
    """Run the command, tell an expected error in one line and return the exit status."""
    try:
        app()
    except SweepInterrupted as error:
        return _ended(str(error), error.__cause__)
    except signals.Stopped as error:
        return _ended("stopped", error)
    except SystemExit as done:  # the usual end
        return int(done.code or 0)
    except MemoryError:
        return _failed("there is too little memory")
    except (DataError, ResultsError, SweepError, UsageError, ValueError, OSError) as error:
        return _failed(str(error))
    return 0


def _ended(message: str, cause: BaseException | None) -> int:
    say(err, message)
    return int(cause.code or 0) if isinstance(cause, SystemExit) else 130


def _failed(message: str) -> int:
    say(err, "bnlib: " + " ".join(message.split()))
    return 1


@contextmanager
def _progress() -> Iterator[runner.Progress]:
    """Show one bar per part on a terminal, and a line per tenth where there is none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err, disable=not err.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def tell(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = bar.add_task(part, total=total)
            bar.update(tasks[part], completed=done)
            if not err.is_terminal and done * 10 // total != (done - 1) * 10 // total:
                say(err, f"{part}: {done} of {total}")

        yield tell


def _tell_check(check: verification.Check) -> None:
    mark = "ok  " if check.agrees else "FAIL"
    say(out, f"{mark} {check.experiment} {check.run}: {check.detail}")


def _table(*names: str) -> Table:
    """Return a table that breaks what is too long: cut off, 2.95e-14 would be another number."""
    return Table(*(Column(name, overflow="fold") for name in names))


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(legible(cell, out) for cell in cells))


def _number(value: float) -> str:
    return "∞" if value == math.inf else "" if math.isnan(value) else f"{value:.3g}"


def _records(rows: Any) -> list[dict[str, Any]]:
    """Return the rows with null for what does not apply: JSON knows no NaN and no infinity."""
    records: list[dict[str, Any]] = rows.to_dict("records")
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in records
    ]


if __name__ == "__main__":
    main()
