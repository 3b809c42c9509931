"""Finds ranks that hang: each rank shows that it lives, and ends itself when training stands still.

All ranks move in lock step, so when one is stopped, loops or waits for a file system for ever, all stand still. Each
notices that by itself, says who was left behind, leaves its stack trace in the log and ends, which frees the nodes.
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

from cloudseg.core import atomic
from cloudseg.core.attempt import FAILED, LOST, Attempt, End
from cloudseg.core.errors import STOPPED, UsageError

LIMIT_S = 300.0
"""Default of CLOUDSEG_SILENCE_S: training may stand still for so long. Writing a checkpoint must fit into it, and the
minute of `atomic.patiently`."""
START_LIMIT_S = 300.0
"""At least so long until the first step is done: a busy file server takes its time over imports, and the first step
compiles."""
PERIOD_S = 2.0
"""Between two signs of life."""
GRACE_S = 20.0
"""After the limit, before the interpreter's own timer ends a process in which no Python runs any more."""


class Heartbeat:
    """Signs of life of this rank, from two threads: one writes them, the other watches and needs no file system."""

    def __init__(self, attempt: Attempt, rank: int, size: int, limit_s: float | None = None) -> None:
        self._attempt, self._rank, self._size = attempt, rank, size
        self._limit = limit_s or limit(os.environ)
        self._period = min(PERIOD_S, self._limit / 4)
        self._where, self._step, self._count, self._moved = "starts", 0, 0, time.monotonic()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._show, self._watch)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._done.set()
        faulthandler.cancel_dump_traceback_later()

    def beat(self, where: str, step: int) -> None:
        """All ranks come past here alike; this one is at `where` now, with so many steps done."""
        self._where, self._step, self._count, self._moved = where, step, self._count + 1, time.monotonic()

    def moves(self) -> None:
        """This rank gets on with what it does between two beats."""
        self._moved = time.monotonic()

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """While within, this rank waits for one that works alone, and minds its own silence."""
        self._moved = math.inf
        try:
            yield
        finally:
            self._moved = time.monotonic()

    def explain(self) -> str:
        """Which rank is to blame that this one cannot go on, as far as can be seen; takes some seconds."""
        before = self._attempt.heartbeats()
        time.sleep(2.5 * self._period)
        return blame(self._rank, self._size, before, self._attempt.heartbeats(), self._attempt.ends())

    def _show(self) -> None:
        number = 0
        while True:
            number += 1
            table = {
                "rank": self._rank,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "sign": number,
                "at": self._where,
                "step": self._step,
                "beats": self._count,
            }
            # The next sign may get through; a folder that is gone was removed by whoever started us.
            with contextlib.suppress(Exception):
                atomic.write_json(self._attempt.heartbeat(self._rank), table, sync=False)
            if self._done.wait(self._period):
                return

    def _watch(self) -> None:
        while not self._done.wait(self._period):
            # Set anew each time; it needs no Python, so it fires even where something holds the interpreter's lock.
            limit_s = self._limit if self._count > 1 else max(self._limit, START_LIMIT_S)
            faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True)
            if time.monotonic() - self._moved > limit_s:
                self._give_up(limit_s)

    def _give_up(self, limit_s: float) -> None:
        faulthandler.dump_traceback_later(GRACE_S, exit=True)  # if the file system does not answer either
        host = socket.gethostname()
        print(
            f"rank {self._rank} on {host}: no progress for {limit_s:.0f} s, at {self._where}; its stacks:",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(all_threads=True)
        reason = f"no progress for {limit_s:.0f} s: {self.explain()}"
        self._attempt.end(self._rank, LOST, reason)
        print(f"rank {self._rank} on {host} ends: {reason}", file=sys.stderr, flush=True)
        os._exit(STOPPED)


def blame(
    own: int, size: int, before: Mapping[int, dict[str, Any]], now: Mapping[int, dict[str, Any]], ends: list[End]
) -> str:
    """Which ranks to blame, from two looks at all signs of life some seconds apart, and from the ends so far."""
    failed = [end for end in ends if end.how == FAILED]
    if failed:
        return "; ".join(f"rank {end.rank} on {end.host} failed: {end.reason}" for end in failed)
    explained = {end.rank for end in ends} | {own}
    others = [rank for rank in range(size) if rank not in explained]
    silent = [rank for rank in others if rank not in now or now[rank]["sign"] == before.get(rank, {}).get("sign")]
    if silent:
        return "; ".join(f"rank {rank} {_seen(now.get(rank, before.get(rank)))}" for rank in silent)
    alive = {rank: now[rank] for rank in now if rank in others or rank == own}
    least = min((table["beats"] for table in alive.values()), default=0)
    behind = [rank for rank, table in alive.items() if table["beats"] == least]
    if len(behind) < len(alive):
        return "; ".join(f"rank {rank} on {alive[rank]['host']} hangs at {alive[rank]['at']}" for rank in behind)
    return "all ranks live and have come equally far; see their stacks"


def _seen(table: dict[str, Any] | None) -> str:
    if table is None:
        return "has ended without a word, or never started"
    return f"on {table['host']} (process {table['pid']}) died or hangs: its last sign of life is from {table['at']}"


def limit(environ: Mapping[str, str]) -> float:
    """CLOUDSEG_SILENCE_S in seconds. Raises UsageError if it is no positive number."""
    text = environ.get("CLOUDSEG_SILENCE_S", "")
    try:
        value = float(text) if text else LIMIT_S
    except ValueError:
        value = 0.0
    if not value > 0:
        raise UsageError(f"CLOUDSEG_SILENCE_S={text}: must be seconds, above 0")
    return value
