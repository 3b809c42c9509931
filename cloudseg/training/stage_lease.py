"""Stage lease: only the ranks of one job step work on a stage at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from cloudseg.core import lock
from cloudseg.core.attempt import Attempt
from cloudseg.core.errors import UsageError
from cloudseg.core.run import Run
from cloudseg.training.heartbeat import PERIOD_S
from cloudseg.training.rank import Rank

SILENCE_S = 5 * PERIOD_S
"""Seconds without a heartbeat after which an owner on another node counts as gone."""


@contextlib.contextmanager
def hold_stage(run: Run, stage: str, rank: Rank) -> Iterator[Callable[[], None]]:
    """Context in which no other ranks work on `stage`.

    Yields the fence, a function that rank 0 calls before it writes: it raises Lost if others have taken the stage over.
    Raises UsageError, on every rank, if others work on the stage.
    """

    def silent(owner: lock.Owner) -> bool:
        attempt = Attempt(run.jobs / "attempts" / owner.attempt)
        return lock.unchanged_for(SILENCE_S, lambda: attempt.heartbeats().get(0, {}).get("sign"))

    with contextlib.ExitStack() as stack:
        lease, problem = None, ""
        if rank.comm.rank == 0:
            run.jobs.mkdir(parents=True, exist_ok=True)
            refusal = f"wait until it ends, or end it; then stage {stage} resumes from its last checkpoint"
            try:
                lease = stack.enter_context(lock.hold(run.lock(stage), rank.attempt.key, silent, refusal))
            except UsageError as error:
                problem = str(error)
        if problem := rank.comm.gather(problem)[0]:
            raise UsageError(problem)
        yield lease.check if lease else lambda: None
