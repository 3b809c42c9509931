"""Propagates a stop signal from one rank to all, also while ranks wait in compiled code that blocks Python handlers."""

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

EXIT_GRACE_S = 4.0
"""Seconds after a stop signal until a rank that has nothing to save is ended."""
REASON = "stopped on a signal"


@contextlib.contextmanager
def propagated(attempt: Attempt, rank: int, stop: StopFlag) -> Iterator[None]:
    """Context in which a stop signal to any rank stops this rank, and a stop signal to this rank stops all.

    Unless signals are deferred, the process is ended EXIT_GRACE_S after a signal: Horovod may block for minutes while
    it waits for a rank that has left, and at its shutdown for all ranks.
    """
    done = threading.Event()

    def watch() -> None:
        sent, since = False, None
        while not done.wait(PERIOD_S / 2):
            if not stop.received():
                if attempt.stop.exists():
                    os.kill(os.getpid(), signal.SIGTERM)
                continue
            since = None if stop.deferring else since or time.monotonic()
            if since and time.monotonic() - since > EXIT_GRACE_S:
                attempt.end(rank, STOPPED, REASON)
                os._exit(EXIT_CODE)
            if not sent:
                # The next write may succeed. A folder that is gone was removed by the process that started the ranks.
                with contextlib.suppress(OSError):
                    attempt.stop.touch()
                    sent = True

    thread = threading.Thread(target=watch, daemon=True)
    with stop.watching():
        thread.start()
        try:
            yield
        except BaseException:
            if stop.received():
                attempt.end(rank, STOPPED, REASON)  # has no effect if a more precise reason is recorded
            raise
        finally:
            if not stop.received():
                done.set()
