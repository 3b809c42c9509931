"""Whether a stage that did not end well is tried again: what its ranks said, and whether it got on. Pure, but for the
file of tries."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudseg.core.atomic import patiently
from cloudseg.core.attempt import FAILED, LOST, STOPPED, End, own_job
from cloudseg.core.errors import Stopped, UsageError

MOST_WITHOUT_PROGRESS = 2
"""Tries in a row without progress after which a stage has failed."""
INTERRUPTED = "interrupted"
"""How a try ended that Slurm itself ended; it requeues the job, or was told to cancel it."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a try ended: "done", "stopped", "lost", "failed" or "interrupted", and why."""

    how: str
    reason: str = ""

    @property
    def again(self) -> bool:
        return self.how in (STOPPED, LOST)


def outcome(code: int, ends: Sequence[End], done: bool) -> Outcome:
    """What the exit code of a step, and what its ranks said, come to. `done`: the stage is finished, whatever befell
    its ranks when they left."""
    if done:
        return Outcome("done")
    # Ranks that were asked to stop may leave others that were not, or not yet, alone.
    for how in (FAILED, STOPPED, LOST):
        if found := [end for end in ends if end.how == how]:
            break
    else:
        # Lost ranks say so; one that a signal stopped while it started may not.
        how, found = {UsageError.exit_code: FAILED, Stopped.exit_code: STOPPED}.get(code, LOST), []
    reason = (
        "; ".join(dict.fromkeys(end.reason for end in found)) or f"its ranks ended with exit code {code}, see above"
    )
    # A rank that was killed says nothing, and the others only that they were left alone.
    killed = f" (exit code {code})" if how == LOST and code > 128 and found else ""
    return Outcome(how, reason + killed)


def limited(now: Outcome, steps: tuple[int, int], earlier: Sequence[dict[str, Any]]) -> Outcome:
    """`now`, or a failure if this try and those before it brought nothing: `steps` (of the evaluation, files of
    probabilities) done before and after this one, `earlier` ends as the file of tries has them. Tries that Slurm ended
    do not count, nor those outside of Slurm that were told to stop."""
    if not now.again or steps[1] > steps[0]:
        return now
    fruitless = 1
    for end in reversed(earlier):
        if end["how"] == INTERRUPTED or (end["how"] == STOPPED and end["job"] is None):
            continue
        if end["how"] not in (STOPPED, LOST) or end["to_step"] > end["from_step"]:
            break
        fruitless += 1
    if fruitless < MOST_WITHOUT_PROGRESS:
        return now
    return Outcome(
        FAILED, f"no progress in {fruitless} tries in a row, at step {steps[1]}; the last ended because {now.reason}"
    )


def record(file: Path, ended: Outcome, steps: tuple[int, int], reached: int, began: float) -> None:
    """Add a line for the end of a try to the file of tries; only the job that has the stage does so.

    `steps` as for `bounded`; `reached`: the step at which the ranks were last seen, and what is not in a checkpoint of
    it is to be done again; `began`: seconds since 1970.
    """
    job = own_job(os.environ)
    line = {
        "job": job,
        "restart": int(os.environ.get("SLURM_RESTART_COUNT", 0)) if job else 0,
        "nodes": os.environ.get("SLURM_JOB_NODELIST"),
        "began": round(began, 1),
        "ended": round(time.time(), 1),
        "from_step": steps[0],
        "to_step": steps[1],
        "reached": max(reached, steps[1]),
        **dataclasses.asdict(ended),
    }

    def append() -> None:
        cut_off = file.exists() and not file.read_bytes().endswith(b"\n")  # by a full disk
        with file.open("a") as handle:
            handle.write("\n" * cut_off + json.dumps(line) + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    patiently(append)
