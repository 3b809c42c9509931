"""Decides whether a stage is restarted after an attempt, from the end reasons of its ranks and its progress.

Pure, except `record`, which writes attempts.jsonl.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudseg.core.atomic import with_retries
from cloudseg.core.attempt import FAILED, LOST, STOPPED, End, cloudseg_job
from cloudseg.core.errors import Stopped, UsageError

MAX_ATTEMPTS_WITHOUT_PROGRESS = 2
"""Number of attempts in a row without progress after which a stage has failed."""
INTERRUPTED = "interrupted"
"""Outcome of an attempt that Slurm ended; Slurm then requeues the job, or the user has cancelled it."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an attempt ended ("done", "stopped", "lost", "failed" or "interrupted"), and why."""

    how: str
    reason: str = ""

    @property
    def restart(self) -> bool:
        """Whether the stage resumes in another attempt."""
        return self.how in (STOPPED, LOST)


def outcome(code: int, ends: Sequence[End], done: bool) -> Outcome:
    """The outcome of an attempt from the exit code of its step and the end reasons of its ranks.

    `done`: whether the stage is finished; its ranks may still have failed while they exited.
    """
    if done:
        return Outcome("done")
    # When some ranks stop on a signal, other ranks may report them as lost; the signal is the cause.
    for how in (FAILED, STOPPED, LOST):
        if matching := [end for end in ends if end.how == how]:
            break
    else:
        # A lost rank leaves an end reason; a rank that a signal stopped during its start may leave none.
        how, matching = {UsageError.exit_code: FAILED, Stopped.exit_code: STOPPED}.get(code, LOST), []
    reason = (
        "; ".join(dict.fromkeys(end.reason for end in matching)) or f"its ranks ended with exit code {code}, see above"
    )
    # A killed rank leaves no end reason, and the others report only that they lost it; the exit code has the signal.
    killed = f" (exit code {code})" if how == LOST and code > 128 and matching else ""
    return Outcome(how, reason + killed)


def limit_attempts(latest: Outcome, steps: tuple[int, int], earlier: Sequence[dict[str, Any]]) -> Outcome:
    """`latest`, or a failure after MAX_ATTEMPTS_WITHOUT_PROGRESS attempts in a row without progress.

    `steps`: steps (for the evaluation, files of probability maps) done before and after the latest attempt. `earlier`:
    earlier attempts, as in attempts.jsonl. Attempts that Slurm ended, and attempts outside of Slurm that a signal
    stopped, do not count.
    """
    if not latest.restart or steps[1] > steps[0]:
        return latest
    without_progress = 1
    for end in reversed(earlier):
        if end["how"] == INTERRUPTED or (end["how"] == STOPPED and end["job"] is None):
            continue
        if end["how"] not in (STOPPED, LOST) or end["to_step"] > end["from_step"]:
            break
        without_progress += 1
    if without_progress < MAX_ATTEMPTS_WITHOUT_PROGRESS:
        return latest
    return Outcome(
        FAILED,
        f"no progress in {without_progress} attempts in a row, at step {steps[1]}; the last ended because "
        f"{latest.reason}",
    )


def record(file: Path, ended: Outcome, steps: tuple[int, int], reached: int, began: float) -> None:
    """Append a line for an ended attempt to attempts.jsonl. Only the job that holds the stage lease calls it.

    `steps` as for `limit_attempts`. `reached`: the largest step in the heartbeats; steps after the last checkpoint are
    repeated. `began`: seconds since 1970.
    """
    job = cloudseg_job(os.environ)
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

    with_retries(append)
