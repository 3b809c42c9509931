"""Reads the logs of a run, and follows them while jobs write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cloudseg.core import output
from cloudseg.core.errors import UsageError
from cloudseg.core.run import Run
from cloudseg.monitor import state

PERIOD_S = 1.0
"""Seconds between two reads of a log that is followed."""
LABEL = re.compile(r"^ *(\d+): ")
"""Prefix of srun --label: the rank that printed the line."""


def latest(opened: Run) -> Path:
    """The log that was written last. Raises UsageError if the run has no log."""
    logs = [log for member, stage in state.all_stages(opened) if (log := member.jobs / f"{stage}.log").exists()]
    if not logs:
        raise UsageError(f"{opened.jobs} has no log: no job has started (without Slurm, stages print to the terminal)")
    return max(logs, key=lambda log: log.stat().st_mtime_ns)


def lines(log: Path, follow: bool, newest: Callable[[], Path], over: Callable[[], bool]) -> Iterator[str]:
    """The lines of a file, each with its line break; with `follow` also lines that are added later.

    Following continues with the file `newest()` when that changes, and ends when `over()` is true or standard output
    has no reader.
    """
    while True:
        with log.open(errors="replace") as file:
            rest, ended = "", not follow
            while True:
                rest += file.readline()
                if rest.endswith("\n"):
                    yield rest
                    rest = ""
                elif ended:
                    break
                else:
                    # Evaluated before the last read, so that all lines written until then are read.
                    ended = over() or newest() != log
                    ended = output.wait_for_closed_output(PERIOD_S) or ended
        if rest:
            yield rest
        if not follow or newest() == log:
            return
        log = newest()
        yield f"==> {log} <==\n"


def of_rank(text: Iterable[str], rank: int) -> Iterator[str]:
    """The lines that this rank printed, without the prefix."""
    for line in text:
        if (match := LABEL.match(line)) and int(match[1]) == rank:
            yield line[match.end() :]
