"""The command ``bnlib``: list and run experiments, verify results, print claims, fetch data."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bnlib import experiments, runner
from bnlib import verify as verification
from bnlib.data import DataError, ImageData, cifar10, digits, fashion_mnist
from bnlib.results import ResultsError
from bnlib.sweep import SweepError, SweepInterrupted, connect, process_pool
from bnlib.verdicts import COLUMNS, ledger

app = typer.Typer(
    help="Batch normalization, claim by claim: run the experiments, judge the claims.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Fetch the data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
out, err = Console(), Console(stderr=True)

Results = Annotated[Path | None, typer.Option(help="Folder of results instead of the book's own.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; one per core by default.")]
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
    table = Table("experiment", "what it asks", "runs", "core-minutes")
    total = 0.0
    for experiment in experiments.load_all():
        cost = runner.cost(experiment, parse_seeds(seeds))
        total += cost.core_seconds
        minutes = f"{cost.core_seconds / 60:.1f}"
        table.add_row(experiment.name, experiment.title, str(cost.runs), minutes)
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
        err.print(
            f"{experiment.name}: {cost.runs} runs, about {cost.core_seconds / 60:.1f} core-minutes"
        )
        with _progress() as tell:
            path = runner.run_experiment(
                experiment,
                seeds=other,
                results=results,
                executor=executor,
                jobs=jobs,
                progress=tell,
                report=err.print,
            )
        out.print(f"{path} written")


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
    with process_pool(jobs) as pool:
        checks = verification.verify(
            chosen, sample=sample, seed=seed, executor=pool, results=results, on_check=_tell_check
        )
    failed = {check.experiment for check in checks if not check.agrees}
    sampled = {check.experiment for check in checks}
    stale = [e for e in verification.outdated(chosen, results) if e.name not in failed]
    for experiment in stale:
        if restamp and experiment.name in sampled:
            verification.restamp(experiment, results)
            out.print(f"{experiment.name}: the sample agrees, the code's new hash is recorded")
    unstamped = [e.name for e in verification.outdated(chosen, results)]
    if unstamped and not failed:
        err.print(
            f"the code behind {', '.join(unstamped)} changed since the results were made; "
            "if it should not matter, run: bnlib verify NAME --restamp; else: bnlib run NAME"
        )
    for name_ in sorted(failed):
        err.print(f"{name_}: stored results are not what the code gives; run: bnlib run {name_}")
    exact, tight, loose = (sum(getattr(c, k) for c in checks) for k in ("exact", "tight", "loose"))
    out.print(
        f"{len(checks)} runs repeated, {sum(not c.agrees for c in checks)} differ; compared: "
        f"{exact:,} values to the bit, {tight:,} tightly, {loose:,} loosely"
    )
    if failed or unstamped:
        raise typer.Exit(1)


@app.command()
def claims(
    results: Results = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print every claim with its verdict, computed from the results."""
    rows = ledger(results)
    if as_json:
        # Not through rich, which would wrap lines.
        sys.stdout.write(json.dumps(_records(rows[list(COLUMNS)]), indent=2) + "\n")
        return
    table = Table("claim", "estimate", "95% interval", "p (Holm)", "n", "verdict")
    table.columns[0].overflow = "fold"  # a claim's id is what one copies
    for row in rows.to_dict("records"):
        interval = f"{_number(row['ci_low'])} to {_number(row['ci_high'])}" if row["n"] else ""
        p = "" if math.isnan(row["p"]) else f"{row['p']:.2g}"
        estimate = f"{_number(row['estimate'])} {row['unit']}" if row["n"] else ""
        table.add_row(row["id"], estimate, interval, p, str(row["n"]), row["verdict"])
    out.print(table)


@data_app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="fashion-mnist, cifar10 or digits.")]) -> None:
    """Find or download a data set, check it and keep it in the cache."""
    if name not in DATA_SETS:
        raise UsageError(f"there is no data set {name!r}; there are: {', '.join(DATA_SETS)}")
    found = DATA_SETS[name]()
    out.print(f"{name}: {len(found.x_train)} training and {len(found.x_test)} test images, checked")


def parse_seeds(text: str | None) -> range | None:
    """Return ``range(a, b)`` for "a:b".

    Raises
    ------
    UsageError
        If the text is no such pair or the range is empty.
    """
    if text is None:
        return None
    first, _, end = text.partition(":")
    if not (first.isdigit() and end.isdigit() and int(first) < int(end)):
        raise UsageError(f"--seeds takes first:end such as 1000:1010, got {text!r}")
    return range(int(first), int(end))


def main() -> None:
    """Run the command; every expected error is one line, and the exit status tells it."""
    try:
        app()
    except SweepInterrupted as error:
        err.print(str(error), soft_wrap=True)
        sys.exit(130)
    except (DataError, ResultsError, SweepError, UsageError, ValueError) as error:
        err.print(f"bnlib: {error}", soft_wrap=True, markup=False)
        sys.exit(1)


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
                err.print(f"{part}: {done} of {total}")

        yield tell


def _tell_check(check: verification.Check) -> None:
    mark = "ok  " if check.agrees else "FAIL"
    out.print(
        f"{mark} {check.experiment} {check.run}: {check.detail}", soft_wrap=True, markup=False
    )


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
