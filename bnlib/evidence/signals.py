"""An orderly end, whoever asks for it: Ctrl-C, ``kill``, a lost terminal, a dead parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP comes when the terminal is closed; Windows has SIGBREAK (Ctrl-Break) in its place.
ENDING = [s for s in signal.Signals if s.name in {"SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"}]
# A terminal sends these to all of its processes, workers too. (SIGTERM ends a worker: the pool
# itself uses it.)
OF_TERMINAL = [s for s in ENDING if s is not signal.SIGTERM]


class Stopped(SystemExit):
    """The process was asked to end; its exit status is a shell's, 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


def raise_stopped() -> None:
    """Raise `Stopped` in the main thread when the process is asked to end.

    A signal that is ignored stays so: that is how ``nohup`` and a shell's background jobs work.
    """
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold a terminal's signals back: a process started meanwhile never gets them.

    Ctrl-C would else end a worker while it still imports, with a traceback of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent() -> None:
    """Make this worker deaf to the terminal's signals, and end it when its parent has gone.

    A parent that is killed cannot end its workers, and they would compute on for nobody.
    """
    for number in OF_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _raise(number: int, frame: FrameType | None) -> None:
    del frame
    raise Stopped(number)
