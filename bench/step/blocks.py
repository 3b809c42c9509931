"""What every rank does: blocks of steps, in turns with a constant batch and with the real augmented feed.

The step is the product's own (`bench.training`) and so is the feed (`parts.open_feed`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from bench.memory import Peak
from bench.ranks import answer, told
from bench.step.job import Answer, Job
from bench.training import Training, order
from cloudseg.core import attempt
from cloudseg.core.config import Settings
from cloudseg.data.shards import Manifest, Shards
from cloudseg.training import comm as ranks
from cloudseg.training.build import open_feed
from cloudseg.training.step import Batch


def measure(folder: Path) -> None:
    """Do what `folder`/job.json says; rank 0 leaves `folder`/answer.json."""
    job = told(folder, Job)
    comm = ranks.start(attempt.own(folder))
    shards = Shards(Manifest.load(job.shards))
    step = Training(job.network, shards.manifest.size, comm).step
    with open_feed(shards, Settings(data=job.shards, batch=job.batch), comm) as feed:
        # Some more than it takes: the feed must not run dry.
        batches = feed.batches(order(len(shards), job.rounds * job.steps + 16, job.batch, comm), 0)
        # Copied: the feed uses the memory of its batches again.
        images, masks = (tf.constant(tensor.numpy().copy()) for tensor in next(batches))
        step(images, masks)  # traces it
        found = _alternate(job, step, (images, masks), batches)
        peak = Peak(os.getpid())
        peak.look()
    peaks = comm.gather(peak.total_mib)
    if comm.rank == 0:
        answer(folder, Answer(*found, peaks, comm.device))
    comm.barrier()


def _alternate(
    job: Job, step: Callable[[tf.Tensor, tf.Tensor], float], constant: Batch, feed: Iterator[Batch]
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of a step with the constant batch and with the feed, and those of the latter that were waiting.

    What comes first changes from round to round, so that neither gains by it.
    """
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    for number in range(job.rounds):
        for fed in (False, True) if number % 2 == 0 else (True, False):
            began, waited = time.perf_counter(), 0.0
            for _ in range(job.steps):
                asked = time.perf_counter()
                batch = next(feed) if fed else constant
                waited += time.perf_counter() - asked
                step(*batch)
            found[fed].append((time.perf_counter() - began) / job.steps)
            if fed:
                found[2].append(waited / job.steps)
    return found
