"""Rank 0's output: log lines and the progress of an epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

from cloudseg.training.comm import Comm

LOG_EVERY_S = 30.0
"""Seconds between two progress lines in a log; a terminal shows a progress bar instead."""


def log_line(comm: Comm, line: str) -> None:
    """Print a line with the time of day, on rank 0 only."""
    if comm.rank == 0:
        tqdm.write(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stdout)
        sys.stdout.flush()


def with_progress(comm: Comm, title: str, total: int, left: int) -> Iterator[int]:
    """Yield the numbers of the last `left` of `total` steps, and show progress on rank 0: a bar on a terminal, a line
    every LOG_EVERY_S in a log."""
    steps = range(total - left, total)
    if comm.rank == 0 and sys.stdout.isatty():
        yield from tqdm(steps, title, total, initial=total - left, unit="step", leave=False, file=sys.stdout)
        return
    last = time.monotonic()
    for step in steps:
        if time.monotonic() - last > LOG_EVERY_S:
            last = time.monotonic()
            log_line(comm, f"{title}: step {step} of {total}")
        yield step
