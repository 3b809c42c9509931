"""Handling of stop signals in this process.

While a command imports modules, a stop signal ends it at once, because no work has started (`cloudseg/__init__.py`).
While it works, the signal raises KeyboardInterrupt, as Ctrl-C does in Python (`errors.run_command`). While its ranks
run, or this process has unsaved state, the signal sets a flag that the loop reads (`StopFlag.deferred`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""SIGTERM: `scancel`, `timeout`, `kill`; SIGINT: Ctrl-C; SIGHUP: a closed terminal; SIGUSR1, SIGUSR2: Slurm's warning
before the walltime or a preemption."""


class StopFlag:
    """Whether this process has received a stop signal, and what such a signal does."""

    def __init__(self) -> None:
        self.requested = False
        """Whether a stop signal has been handled."""
        self.interrupted = False
        """Whether a stop signal has raised KeyboardInterrupt."""
        self.deferring = False
        """Whether a stop signal only sets `requested`."""
        self._dropped = self._received = False
        self._wakeup_fd: int | None = None

    def exit_at_once(self) -> None:
        """From now on a stop signal ends this process at once; so does a blocked signal that is pending."""
        self._install(self._end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def interrupt(self) -> None:
        """From now on the first stop signal raises KeyboardInterrupt, and so does each later Ctrl-C."""
        self._install(self._interrupt)
        sys.unraisablehook = self._raise_again

    def ignore(self) -> None:
        """From now on stop signals do nothing, because this process exits with a known exit code."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Context manager: a stop signal only sets `requested`; a second Ctrl-C raises KeyboardInterrupt."""
        deferring = self.deferring
        before = self._install(self._note)
        self.deferring = True
        try:
            yield
        finally:
            self.deferring = deferring
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Context manager: `received` sees a stop signal even while the main thread runs no Python code."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_fd = reader
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            self._wakeup_fd = None
            signal.set_wakeup_fd(before)
            os.close(writer)
            os.close(reader)

    def received(self) -> bool:
        """Whether this process has received a stop signal, also before the handler has run and set `requested`.

        Handlers run in the main thread only.
        """
        if (reader := self._wakeup_fd) is not None:
            with contextlib.suppress(OSError):  # no signal, or `watching` ends
                self._received |= bool(set(os.read(reader, 1000)) & set(STOP_SIGNALS))
        return self._received or self.requested

    def _install(self, handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
        """Set `handler` for the stop signals; returns the previous handlers by signal."""
        # nohup ignores SIGHUP, and this must stay so. A script that starts a command with `&` ignores SIGINT, but
        # `kill -INT` on the command must have an effect.
        chosen = [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        return {number: signal.signal(number, handler) for number in chosen}

    def _end(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(2, b"stopped; the same command resumes from here\n")
        os._exit(os.EX_TEMPFAIL)  # errors.STOPPED

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # `timeout` sends SIGTERM twice, to the process and to its group; the second must not interrupt the cleanup.
        if not self.requested or self._dropped or number == signal.SIGINT:
            self.requested, self.interrupted, self._dropped = True, True, False
            raise KeyboardInterrupt

    def _raise_again(self, unraisable: Any) -> None:
        """Raise a KeyboardInterrupt again that Python dropped, as it does in weak-reference callbacks and `__del__`."""
        if not (self.interrupted and isinstance(unraisable.exc_value, KeyboardInterrupt)):
            sys.__unraisablehook__(unraisable)
            return
        import threading  # not at import, to keep the start of commands fast

        self._dropped = True
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


stop = StopFlag()
"""The stop flag of this process."""


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Context manager: stop signals are blocked and stay pending. A process started in the block inherits the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
