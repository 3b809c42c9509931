"""What rank 0 tells: lines of the log, and how far an epoch is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

from cloudseg.training.comm import Comm

LOG_EVERY_S = 30.0
"""Between two lines of progress in a log; a terminal has a bar instead."""


def say(comm: Comm, line: str) -> None:
    """A line of the log, from rank 0 only."""
    if comm.rank == 0:
        tqdm.write(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stdout)
        sys.stdout.flush()


def shown(comm: Comm, title: str, total: int, left: int) -> Iterator[int]:
    """The numbers of the steps of an epoch that are left, with rank 0's progress: a bar on a terminal, a line now and
    then in a log."""
    steps = range(total - left, total)
    if comm.rank == 0 and sys.stdout.isatty():
        yield from tqdm(steps, title, total, initial=total - left, unit="step", leave=False, file=sys.stdout)
        return
    last = time.monotonic()
    for step in steps:
        if time.monotonic() - last > LOG_EVERY_S:
            last = time.monotonic()
            say(comm, f"{title}: step {step} of {total}")
        yield step
