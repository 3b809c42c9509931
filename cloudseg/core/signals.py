"""What stop signals do to this process, from the first line of it to the last.

While a command imports, a stop signal ends it at once: nothing is begun (`cloudseg/__init__.py`). While it works, the
signal raises KeyboardInterrupt, as Ctrl-C does in Python (`errors.run_command`). While its ranks run, or this process
holds what is not saved, the signal sets a flag that the loop looks at (`StopFlag.noted`).
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
"""`scancel`, `timeout` and `kill`; Ctrl-C; a terminal that was closed; Slurm's warning before the walltime or a
preemption."""


class StopFlag:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.asked = False
        self.interrupted = False
        """Whether that raised KeyboardInterrupt where the process was at work."""
        self.deferring = False
        """Whether a signal only sets the flag now."""
        self._dropped = self._heard = False
        self._reader: int | None = None

    def end_at_once(self) -> None:
        """From now on a stop signal ends this process; so does one that came before and was blocked."""
        self._install(self._end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def interrupt(self) -> None:
        """From now on the first stop signal raises KeyboardInterrupt, and so does each Ctrl-C after it."""
        self._install(self._interrupt)
        sys.unraisablehook = self._raise_again

    def ignore(self) -> None:
        """From now on stop signals do nothing: this process is leaving, and its exit code is known."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """While within, a stop signal sets `asked` and nothing else; a second Ctrl-C raises KeyboardInterrupt."""
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
    def listening(self) -> Iterator[None]:
        """While within, `heard` knows of a stop signal also when the main thread runs no Python."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._reader = reader
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            self._reader = None
            signal.set_wakeup_fd(before)
            os.close(writer)
            os.close(reader)

    def received(self) -> bool:
        """Whether a stop signal has come; handlers, which set `asked`, may have to wait for the main thread."""
        if (reader := self._reader) is not None:
            with contextlib.suppress(OSError):  # nothing came, or `listening` ends
                self._heard |= bool(set(os.read(reader, 1000)) & set(STOP_SIGNALS))
        return self._heard or self.asked

    def _install(self, handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
        """Returns the handlers before."""
        # nohup has SIGHUP ignored. SIGINT is ignored where a script started the command with `&`, but a `kill -INT`
        # that is meant for it must be heeded.
        chosen = [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        return {number: signal.signal(number, handler) for number in chosen}

    def _end(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(2, b"stopped; the same command goes on from here\n")
        os._exit(os.EX_TEMPFAIL)  # errors.STOPPED

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # `timeout` sends SIGTERM twice, to the process and to its group; the second must not break the clearing up.
        if not self.asked or self._dropped or number == signal.SIGINT:
            self.asked, self.interrupted, self._dropped = True, True, False
            raise KeyboardInterrupt

    def _raise_again(self, unraisable: Any) -> None:
        """Python drops what is raised in callbacks of weak references and in `__del__`: raise it once more, later."""
        if not (self.interrupted and isinstance(unraisable.exc_value, KeyboardInterrupt)):
            sys.__unraisablehook__(unraisable)
            return
        import threading  # not while a command starts

        self._dropped = True
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


stop = StopFlag()
"""This process's own."""


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """While within, stop signals wait. A process that is started within begins with them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
