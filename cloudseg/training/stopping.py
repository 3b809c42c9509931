"""A stop signal to one rank is one to all, also while ranks wait for each other in code where Python hears none."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

from cloudseg.core.attempt import STOPPED, Attempt
from cloudseg.core.errors import STOPPED as EXIT_CODE
from cloudseg.core.signals import StopFlag
from cloudseg.training.heartbeat import PERIOD_S

LEAVE_S = 4.0
"""A rank with nothing to save is ended if it has not left so long after it was asked to."""
REASON = "stopped on a signal"


@contextlib.contextmanager
def together(attempt: Attempt, rank: int, stop: StopFlag) -> Iterator[None]:
    """While within, this rank tells the others when it is asked to stop, and stops when another was.

    It is ended, unless it defers signals, if Horovod does not let it go: it waits minutes for a rank that has left, and
    at its own end for all.
    """
    done = threading.Event()

    def watch() -> None:
        told, since = False, None
        while not done.wait(PERIOD_S / 2):
            if not stop.received():
                if attempt.stop.exists():
                    os.kill(os.getpid(), signal.SIGTERM)
                continue
            since = None if stop.deferring else since or time.monotonic()
            if since and time.monotonic() - since > LEAVE_S:
                attempt.end(rank, STOPPED, REASON)
                os._exit(EXIT_CODE)
            if not told:
                # The next try may get through; a folder that is gone was removed by whoever started us.
                with contextlib.suppress(OSError):
                    attempt.stop.touch()
                    told = True

    thread = threading.Thread(target=watch, daemon=True)
    with stop.listening():
        thread.start()
        try:
            yield
        except BaseException:
            if stop.received():
                attempt.end(rank, STOPPED, REASON)  # unless it said more
            raise
        finally:
            if not stop.received():
                done.set()
