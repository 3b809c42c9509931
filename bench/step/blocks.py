"""Code of every rank: blocks of steps, alternately with a constant batch and with the augmented feed.

Step and feed are cloudseg's (`bench.training`, `build.open_feed`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from bench.memory import Peak
from bench.ranks import read_job, write_answer
from bench.step.job import Answer, Job
from bench.training import Training, order
from cloudseg.core import attempt
from cloudseg.core.config import Settings
from cloudseg.data.shards import Manifest, Shards
from cloudseg.training import comm as ranks
from cloudseg.training.build import open_feed
from cloudseg.training.step import Batch


def measure(folder: Path) -> None:
    """Do the job in `folder`/job.json; rank 0 writes `folder`/answer.json."""
    job = read_job(folder, Job)
    comm = ranks.start(attempt.current(folder))
    shards = Shards(Manifest.load(job.shards))
    step = Training(job.network, shards.manifest.size, comm).step
    with open_feed(shards, Settings(data=job.shards, batch=job.batch), comm) as feed:
        # More than needed, so that the feed reads ahead until the end.
        batches = feed.batches(order(len(shards), job.rounds * job.steps + 16, job.batch, comm), 0)
        # Copied, as the feed reuses the memory of its batches.
        images, masks = (tf.constant(tensor.numpy().copy()) for tensor in next(batches))
        step(images, masks)  # traces it
        times = _alternate(job, step, (images, masks), batches)
        peak = Peak(os.getpid())
        peak.update()
    peaks = comm.gather(peak.total_mib)
    if comm.rank == 0:
        write_answer(folder, Answer(*times, peaks, comm.device))
    comm.barrier()


def _alternate(
    job: Job, step: Callable[[tf.Tensor, tf.Tensor], float], constant: Batch, feed: Iterator[Batch]
) -> tuple[list[float], list[float], list[float]]:
    """Seconds per step with the constant batch, with the feed, and of waiting for the feed.

    The order changes from round to round, so that neither has an advantage.
    """
    times: tuple[list[float], list[float], list[float]] = ([], [], [])
    for number in range(job.rounds):
        for fed in (False, True) if number % 2 == 0 else (True, False):
            began, waited = time.perf_counter(), 0.0
            for _ in range(job.steps):
                asked = time.perf_counter()
                batch = next(feed) if fed else constant
                waited += time.perf_counter() - asked
                step(*batch)
            times[fed].append((time.perf_counter() - began) / job.steps)
            if fed:
                times[2].append(waited / job.steps)
    return times
