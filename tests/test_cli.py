"""The command line as a user calls it."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import lacks, require_program

from bnlib import terminal
from bnlib.book.ledger import ledger
from bnlib.evidence.store import results_folder

COMMAND = [sys.executable, "-m", "bnlib"]
# Test processes side by side have a terminal of 80 columns, which a user's pipe has not.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
ENVIRONMENT["OMP_NUM_THREADS"] = "1"


def bnlib(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, encoding="utf-8", errors="replace",
        env={**ENVIRONMENT, **environment}, check=False, timeout=280,
    )  # fmt: skip


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line in which a command that failed says why."""
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_list_shows_the_cost() -> None:
    done = bnlib("list")
    assert done.returncode == 0
    assert "convergence" in done.stdout
    assert "core-minutes" in done.stdout


def test_claims_json_has_the_documented_keys() -> None:
    done = bnlib("claims", "--json")
    rows = json.loads(done.stdout)
    keys = "id chapter kind statement sources estimate ci_low ci_high p n verdict"
    assert rows
    assert all(" ".join(row) == keys for row in rows)


def test_claims_of_an_empty_folder_are_not_run(tmp_path: Path) -> None:
    rows = json.loads(bnlib("claims", "--results", str(tmp_path), "--json").stdout)
    assert {row["verdict"] for row in rows} == {"not run"}
    assert all(row["estimate"] is None for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "there is no experiment 'nothing'; there are: "),
        (["run", "convergence", "--seeds", "7"], "--seeds takes first:end"),
        (["run", "convergence", "--seeds", "9:3"], "--seeds takes first:end"),
        (["run", "convergence", "--seeds", "-5:3"], "--seeds takes first:end"),
        (["run", "convergence", "--seeds", "²:3"], "--seeds takes first:end"),
        (["claims", "--results", "no/such"], "there is no folder of results no/such"),
        (["verify", "--results", "no/such"], "there is no folder of results no/such"),
        (["data", "fetch", "mnist"], "there is no data set 'mnist'"),
    ],
)
def test_errors_are_one_line_and_status_1(arguments: list[str], message: str) -> None:
    assert message in one_line(bnlib(*arguments))


def test_seeds_may_have_spaces() -> None:
    assert bnlib("list", "--seeds", " 5 : 7").returncode == 0


def test_unknown_options_are_usage_errors() -> None:
    assert bnlib("run").returncode == 2
    assert bnlib("run", "backward", "--jobs", "0").returncode == 2
    assert bnlib("--help").returncode == 0


def test_nothing_to_verify_is_no_success(tmp_path: Path) -> None:
    assert "there is nothing to verify" in one_line(bnlib("verify", "--results", str(tmp_path)))


def test_results_of_another_version_are_named(tmp_path: Path) -> None:
    for suffix in ("parquet", "json"):
        shutil.copy(results_folder() / f"backward.{suffix}", tmp_path)
    path = tmp_path / "backward.parquet"
    pd.read_parquet(path).rename(columns={"seed": "start"}).to_parquet(path)
    line = one_line(bnlib("claims", "--results", str(tmp_path)))
    assert "backward.parquet holds other measurements" in line
    (tmp_path / "backward.json").write_text("{}", encoding="utf-8")
    line = one_line(bnlib("claims", "--results", str(tmp_path)))
    assert "backward.json is damaged (it lacks claims_hash)" in line


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_narrow_encodings_are_written_legibly(encoding: str) -> None:
    open_above = (ledger()["ci_high"] == float("inf")).sum()
    assert open_above > 0
    done = bnlib("claims", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" to inf ") == open_above
    lines = done.stdout.splitlines()
    assert len({len(line) for line in lines}) == 1, "the columns stand one below the other"


@pytest.mark.parametrize("command", ["list", "run --help", "run nothing"])
def test_every_kind_of_output_fits_a_narrow_encoding(command: str) -> None:
    done = bnlib(*command.split(), PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert done.returncode == (command == "run nothing")


def test_json_is_lossless_in_every_encoding() -> None:
    rows = json.loads(bnlib("claims", "--json", PYTHONIOENCODING="ascii").stdout)
    statements = ledger()["statement"].tolist()
    assert [row["statement"] for row in rows] == statements
    assert not "".join(statements).isascii(), "there is something that could be lost"


@pytest.mark.parametrize(
    ("text", "encoding", "written"),
    [
        ("10² ≤ ∞ …", "ascii", b"10^2 <= inf ..."),
        ("γ, Σ, µ, é", "ascii", b"gamma, sigma, mu, e"),
        ("é × ∞", "cp1252", b"\xe9 \xd7 inf"),
        ("☃ 漢", "ascii", rb"\u2603 \u6f22"),
        ("\udcff", "utf-8", rb"\udcff"),  # a byte of a file's name that is no UTF-8
    ],
)
def test_stand_ins(text: str, encoding: str, written: bytes) -> None:
    assert text.encode(encoding, "bnlib.stand-in") == written


def test_a_narrow_terminal_cuts_nothing_off() -> None:
    done = bnlib("claims", COLUMNS="60")
    assert done.returncode == 0
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 60


def test_a_reader_that_goes_away_is_no_error_to_report() -> None:
    for command in (["list"], ["claims", "--json"]):
        process = subprocess.Popen(
            [*COMMAND, *command], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        assert process.communicate(timeout=100)[1] == b""
        assert process.returncode == 1


def test_output_that_cannot_be_written_is_one_line() -> None:
    full = Path("/dev/full")
    if not full.exists():
        lacks(str(full))
    with full.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [*COMMAND, "list"], env=ENVIRONMENT, stdout=file, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert "No space left" in one_line(done)


def test_a_message_that_cannot_be_written_ends_no_computation() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, f"{text!r} is lost")

    messages = terminal.Messages(Gone())
    assert messages.write("lost") == 4
    messages.flush()
    assert not messages.isatty()


def test_results_that_cannot_be_written_are_named_before_the_first_run(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    done = bnlib("run", "backward", "--results", str(blocked))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"bnlib: results cannot be written into {blocked}"
    )
    assert "runs: 0 of" not in done.stderr


def test_a_folder_that_is_only_to_be_read(tmp_path: Path) -> None:
    # Permissions do not bind root, unless it gives this power away.
    meek = []
    if os.geteuid() == 0:
        meek = [require_program("setpriv"), "--bounding-set=-dac_override,-dac_read_search"]
    tmp_path.chmod(0o500)
    done = subprocess.run(
        [*meek, *COMMAND, "run", "backward", "--results", str(tmp_path)],
        env={**ENVIRONMENT, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        f"bnlib: results cannot be written into {tmp_path} (Permission denied); "
        "name another folder with --results"
    ]


class Started:
    """A command that was started as from a terminal: the leader of a group of processes."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        # A shell's background jobs are started deaf to Ctrl-C; what is started here is not.
        handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], env={**ENVIRONMENT, **environment}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        signal.signal(signal.SIGINT, handler)
        self.group = self.process.pid

    def end(self) -> tuple[int, str]:
        """Wait until all processes have ended, workers too: they hold the pipes open until then."""
        try:
            _, errors = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.group, signal.SIGKILL)
            raise
        return self.process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "send", "status"),
    [
        (signal.SIGINT, os.killpg, 130),  # Ctrl-C reaches the whole group
        (signal.SIGHUP, os.killpg, 129),
        (signal.SIGTERM, os.kill, 143),  # a supervisor may know the first process only
    ],
)
def test_a_signal_ends_a_run_with_its_workers_and_keeps_what_is_finished(
    number: signal.Signals, send: object, status: int, tmp_path: Path
) -> None:
    started = Started(
        "run", "gradients", "--seeds", "500:504", "--jobs", "2", "--results", str(tmp_path)
    )
    assert started.process.stderr is not None
    for line in started.process.stderr:
        if line.startswith("runs: ") and not line.startswith("runs: 0 "):
            break
    send(started.group, number)
    code, errors = started.end()
    assert code == status, errors
    kept = len(list((tmp_path / ".parts" / "gradients").glob("*.parquet")))
    last = errors.splitlines()[-1]
    assert last == f"stopped after {kept} of 64 runs; they are kept: the same command resumes"
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_signal_ends_verify_with_its_workers() -> None:
    started = Started("verify", "gradients", "--sample", "40", "--jobs", "2")
    assert started.process.stdout is not None
    started.process.stdout.readline()  # the first run is compared
    os.killpg(started.group, signal.SIGINT)
    assert started.end() == (130, "stopped\n")


def test_a_command_that_is_still_loading_can_be_stopped(tmp_path: Path) -> None:
    code = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    (tmp_path / "torch.py").write_text(code, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    assert Started("list", PYTHONPATH=path).end() == (130, "stopped\n")


def test_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    done = bnlib("data", "fetch", "cifar10", BNLIB_DATA=str(blocked))
    assert done.returncode == 1
    assert done.stderr.startswith(("bnlib: ", "Downloading"))
    assert "Traceback" not in done.stderr


def test_import_is_light() -> None:
    code = "import sys, bnlib; print(sorted({'torch', 'pandas', 'seaborn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_claims_against_other_results(tmp_path: Path) -> None:
    book = results_folder()
    same = bnlib("claims", "--against", str(book))
    assert (same.returncode, same.stdout.splitlines()[-1]) == (
        0, f"{len(ledger())} claims, 0 verdicts differ"
    )  # fmt: skip
    again = bnlib("claims", "--results", str(book / "replication"), "--against", str(book))
    assert again.returncode == 0, "a claim was overturned on other seeds"
    assert ": supported, now inconclusive" in again.stdout
    none = bnlib("claims", "--results", str(tmp_path), "--against", str(book))
    assert none.returncode == 1
    assert ", now not run (failure)" in none.stdout
