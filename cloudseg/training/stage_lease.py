"""A stage belongs to one step's ranks at a time."""

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
"""An owner on another node is gone when it has given no sign of life for so long."""


@contextlib.contextmanager
def held(run: Run, stage: str, rank: Rank) -> Iterator[Callable[[], None]]:
    """While within, no other ranks work on `stage`. Gives what rank 0 calls before it writes: it raises Lost if
    the stage has been taken over.

    Raises UsageError, on every rank, if others are at work on it.
    """

    def silent(owner: lock.Owner) -> bool:
        theirs = Attempt(run.jobs / "attempts" / owner.attempt)
        return lock.unchanged_for(SILENCE_S, lambda: theirs.heartbeats().get(0, {}).get("sign"))

    with contextlib.ExitStack() as stack:
        held, problem = None, ""
        if rank.comm.rank == 0:
            run.jobs.mkdir(parents=True, exist_ok=True)
            refusal = f"wait for it, or end it first; then stage {stage} goes on from its last checkpoint"
            try:
                held = stack.enter_context(lock.held(run.lock(stage), rank.attempt.key, silent, refusal))
            except UsageError as error:
                problem = str(error)
        if problem := rank.comm.gather(problem)[0]:
            raise UsageError(problem)
        yield held.check if held else lambda: None
