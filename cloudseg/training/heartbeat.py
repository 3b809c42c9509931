"""Heartbeat and watchdog of a rank: find ranks that hang, and end this rank when training makes no progress.

All ranks run in lock step. If one is suspended, loops or waits for a file system without end, all ranks wait. Each rank
detects that by itself, names the rank that is behind, writes its stack traces to the log and ends, which frees the
nodes.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cloudseg.core import atomic, variables
from cloudseg.core.attempt import FAILED, LOST, Attempt, End
from cloudseg.core.errors import STOPPED

LIMIT_S = 300.0
"""Default of CLOUDSEG_SILENCE_S: seconds without progress after which a rank is ended. Writing a checkpoint must fit
into it, and so must the minute of retries in `atomic.with_retries`."""
START_LIMIT_S = 300.0
"""Lower bound of the limit until the first step is done: a busy file server may need minutes to deliver imports, and
the first step is compiled."""
PERIOD_S = 2.0
"""Seconds between two heartbeats."""
GRACE_S = 20.0
"""Seconds after the limit until the interpreter's own timer ends a process in which no Python code can run."""


class Heartbeat:
    """Heartbeat and watchdog of this rank, a thread each.

    One thread writes the rank's heartbeat file. The other, the watchdog, ends the process if it makes no progress; it
    needs no file system to notice that.
    """

    def __init__(self, attempt: Attempt, rank: int, size: int, limit_s: float | None = None) -> None:
        self._attempt, self._rank, self._size = attempt, rank, size
        self._limit = limit_s or watchdog_limit(os.environ)
        self._period = min(PERIOD_S, self._limit / 4)
        self._where, self._step, self._reports, self._last_progress = "starts", 0, 0, time.monotonic()
        self._preparation = ""
        self._stopped = threading.Event()
        targets = (self._write_heartbeats, self._watch)
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        faulthandler.cancel_dump_traceback_later()

    def report_step(self, where: str, step: int) -> None:
        """Report that this rank is at `where` with `step` steps done.

        All ranks call this equally often, so the number of reports shows which rank is behind.
        """
        self._where, self._step, self._reports, self._preparation = where, step, self._reports + 1, ""
        self._last_progress = time.monotonic()

    def report_preparation(self, what: str) -> None:
        """Report that this rank `what` (a verb, as "predicts 12 pictures") before its first step.

        It is no report of a step: after those, the first step has no more time to compile.
        """
        self._where = self._preparation = what
        self._last_progress = time.monotonic()

    def progressed(self) -> None:
        """Report progress between two calls of `report_step`, for work that ranks share unevenly."""
        self._last_progress = time.monotonic()

    @contextlib.contextmanager
    def watchdog_paused(self) -> Iterator[None]:
        """Context in which this rank may wait without limit for another rank, whose own watchdog runs."""
        self._last_progress = math.inf
        try:
            yield
        finally:
            self._last_progress = time.monotonic()

    def explain(self) -> str:
        """Name the rank that keeps this one from going on, as far as heartbeats show it. Takes some seconds."""
        before = self._attempt.heartbeats()
        time.sleep(2.5 * self._period)
        return diagnose(self._rank, self._size, before, self._attempt.heartbeats(), self._attempt.ends())

    def _write_heartbeats(self) -> None:
        number = 0
        while True:
            number += 1
            table = {
                "rank": self._rank,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "sign": number,
                "at": self._where,
                "preparation": self._preparation,
                "step": self._step,
                "beats": self._reports,
            }
            # The next write may succeed. A folder that is gone was removed by the process that started the ranks.
            with contextlib.suppress(Exception):
                atomic.write_json(self._attempt.heartbeat(self._rank), table, sync=False)
            if self._stopped.wait(self._period):
                return

    def _watch(self) -> None:
        while not self._stopped.wait(self._period):
            # faulthandler's timer needs no Python, so it fires even if some code holds the interpreter lock.
            limit_s = self._limit if self._reports > 1 else max(self._limit, START_LIMIT_S)
            faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True)
            if time.monotonic() - self._last_progress > limit_s:
                self._abort(limit_s)

    def _abort(self, limit_s: float) -> None:
        """Print the stack traces, record the reason in the attempt's folder, and end the process."""
        faulthandler.dump_traceback_later(GRACE_S, exit=True)  # in case the file system does not answer either
        host = socket.gethostname()
        print(
            f"rank {self._rank} on {host}: no progress for {limit_s:.0f} s, at {self._where}; stack traces:",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(all_threads=True)
        reason = f"no progress for {limit_s:.0f} s: {self.explain()}"
        self._attempt.end(self._rank, LOST, reason)
        print(f"rank {self._rank} on {host} ends: {reason}", file=sys.stderr, flush=True)
        os._exit(STOPPED)


def diagnose(
    own: int, size: int, before: Mapping[int, dict[str, Any]], now: Mapping[int, dict[str, Any]], ends: list[End]
) -> str:
    """Name the ranks that keep rank `own` of `size` ranks from going on.

    `before` and `now` are the heartbeats of all ranks at two times some seconds apart, `ends` the recorded ends.
    """
    failed = [end for end in ends if end.how == FAILED]
    if failed:
        return "; ".join(f"rank {end.rank} on {end.host} failed: {end.reason}" for end in failed)
    explained = {end.rank for end in ends} | {own}
    others = [rank for rank in range(size) if rank not in explained]
    silent = [rank for rank in others if rank not in now or now[rank]["sign"] == before.get(rank, {}).get("sign")]
    if silent:
        return "; ".join(f"rank {rank} {_last_heartbeat(now.get(rank, before.get(rank)))}" for rank in silent)
    alive = {rank: now[rank] for rank in now if rank in others or rank == own}
    fewest = min((table["beats"] for table in alive.values()), default=0)
    behind = [rank for rank, table in alive.items() if table["beats"] == fewest]
    if len(behind) < len(alive):
        return "; ".join(f"rank {rank} on {alive[rank]['host']} hangs at {alive[rank]['at']}" for rank in behind)
    return "all ranks send heartbeats and are at the same step; see their stack traces"


def _last_heartbeat(table: dict[str, Any] | None) -> str:
    if table is None:
        return "ended without a reason, or never started"
    return f"on {table['host']} (process {table['pid']}) died or hangs: its last heartbeat is from {table['at']}"


def watchdog_limit(environ: Mapping[str, str]) -> float:
    """Read CLOUDSEG_SILENCE_S in seconds. Raises UsageError if it is not a positive number."""
    return variables.seconds(environ, "CLOUDSEG_SILENCE_S") or LIMIT_S
