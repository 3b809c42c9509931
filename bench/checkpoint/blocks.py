"""Code of every rank: blocks of steps, alternately without a checkpoint and with one.

Step, feed and checkpoints are cloudseg's (`bench.training`, `build.open_feed`, `checkpoint.Saver`).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.checkpoint.job import Blocks, Trained
from bench.contender import say
from bench.memory import Peak
from bench.ranks import read_job, write_answer
from bench.training import Training, order
from cloudseg.core import attempt
from cloudseg.core.config import Checkpoint, Settings
from cloudseg.core.errors import CloudsegError
from cloudseg.data.shards import Manifest, Shards
from cloudseg.training import checkpoint
from cloudseg.training import comm as ranks
from cloudseg.training.build import open_feed
from cloudseg.training.checkpoint import Progress
from cloudseg.training.comm import Comm
from cloudseg.training.step import Batch

TIMED_STEPS = 6
"""Steps that are timed to choose the number of steps of a block."""
WARM_STEPS = 2
"""Steps that are not timed; the first one is traced."""


def measure(folder: Path) -> None:
    """Do the job in `folder`/job.json; rank 0 writes `folder`/answer.json."""
    job = read_job(folder, Blocks)
    comm = ranks.start(attempt.current(folder))
    shards = Shards(Manifest.load(job.shards))
    training = Training(job.network, shards.manifest.size, comm)
    checkpoints = Checkpoints(training, folder / "checkpoints", comm)
    with open_feed(shards, Settings(data=job.shards, batch=job.batch), comm) as feed:
        first = feed.batches(order(len(shards), WARM_STEPS + TIMED_STEPS, job.batch, comm), 0)
        steps = _steps_of_a_block(job.seconds, training, first, comm)
        # The first ones are not timed, as they fill the read-ahead buffers.
        needed = WARM_STEPS + 2 * job.rounds * steps
        batches = feed.batches(order(len(shards), needed, job.batch, comm), 1)
        _train(training, batches, WARM_STEPS)
        without, having, writing = _alternate(
            job.rounds, lambda: _train(training, batches, steps), checkpoints, steps, comm
        )
        peak = Peak(os.getpid())
        peak.update()
    peaks = comm.gather(peak.total_mib)
    if comm.rank == 0:
        write_answer(folder, Trained(steps, without, having, writing, peaks, comm.device))
    comm.barrier()


class Checkpoints:
    """Checkpoints of `training`, which rank 0 writes in the background; on other ranks the methods do nothing."""

    def __init__(self, training: Training, folder: Path, comm: Comm) -> None:
        self._training, self._folder, self._ranks, self._step = training, folder, comm.size, 0
        keep = Checkpoint().keep
        self._saver = checkpoint.Saver(folder, keep, fence=lambda: None) if comm.rank == 0 else None

    def start(self) -> None:
        if self._saver is not None:
            self._step += 1
            arrays = checkpoint.snapshot(self._training.model, self._training.optimizer, self._saver.spare())
            self._saver.start(arrays, Progress(stage="bench", epoch=0, step=self._step, seed=0, ranks=self._ranks))

    def wait(self) -> None:
        if self._saver is not None:
            self._saver.wait()

    def seconds(self) -> float:
        """Seconds that the last checkpoint took. Raises CloudsegError if it was not written."""
        if self._saver is None:
            return 0.0
        newest = checkpoint.newest(self._folder)
        if newest is None or newest[1].step != self._step:
            raise CloudsegError("no checkpoint was written; the reason is above")
        return self._saver.seconds


def _steps_of_a_block(seconds: float, training: Training, batches: Iterator[Batch], comm: Comm) -> int:
    """Number of steps that take `seconds` on rank 0, the same on all ranks. Consumes `batches`."""
    times = []
    for batch in batches:
        began = time.perf_counter()
        training.step(*batch)
        times.append(time.perf_counter() - began)
    one = statistics.median(times[WARM_STEPS:])
    steps: int = comm.gather(max(1, round(seconds / one)))[0]
    if comm.rank == 0:
        say(f"a step takes {one:.3g} s, a block {steps} steps")
    return steps


def _train(training: Training, batches: Iterator[Batch], steps: int) -> None:
    for _ in range(steps):
        training.step(*next(batches))


def _alternate(
    rounds: int, train: Callable[[], None], checkpoints: Checkpoints, steps: int, comm: Comm
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of blocks without a checkpoint, of blocks with one, and of writing it.

    The order changes from round to round, so that neither has an advantage.
    """
    times: tuple[list[float], list[float]] = ([], [])
    writing = []
    for number in range(rounds):
        for having in (False, True) if number % 2 == 0 else (True, False):
            comm.barrier()
            began = time.perf_counter()
            if having:
                checkpoints.start()
            train()
            if having:
                checkpoints.wait()
            comm.barrier()  # all ranks start the next block together
            times[having].append(time.perf_counter() - began)
            if having:
                writing.append(checkpoints.seconds())
        if comm.rank == 0:
            without, having_one = (seconds[-1] / steps for seconds in times)
            say(f"round {number + 1} of {rounds}: {without:.4g} s per step, with a checkpoint {having_one:.4g} s")
    return *times, writing
