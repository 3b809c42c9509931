"""What every rank does: blocks of steps, in turns with a constant batch and with the real augmented feed.

The step is the product's own (`step.Step`, everything trains) and so is the feed (`parts.open_feed`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from bench.memory import Peak
from bench.step.job import Answer, Job, read_job, write
from cloudseg import attempt
from cloudseg.config import Settings
from cloudseg.data.order import epoch_order, rank_share
from cloudseg.data.shards import Manifest, Shards
from cloudseg.nets import freeze, losses, models
from cloudseg.training import comm as ranks
from cloudseg.training import optimizers
from cloudseg.training.parts import open_feed
from cloudseg.training.stages import Stage
from cloudseg.training.step import Step

Batch = tuple[tf.Tensor, tf.Tensor]
STAGE = Stage(encoder=1.0, epochs=1, lr=1e-4)


def measure(folder: Path) -> None:
    """Do what `folder`/job.json says; rank 0 leaves `folder`/answer.json."""
    job = read_job(folder / "job.json")
    comm = ranks.start(attempt.own(folder))
    shards = Shards(Manifest.load(job.shards))
    step = _step(job, shards, comm)
    with open_feed(shards, Settings(data=job.shards, batch=job.batch), comm) as feed:
        batches = feed.batches(_order(job, shards, comm), 0)
        # Copied: the feed uses the memory of its batches again.
        images, masks = (tf.constant(tensor.numpy().copy()) for tensor in next(batches))
        step(images, masks)  # traces it
        answer = _alternate(job, step, (images, masks), batches)
        peak = Peak(os.getpid())
        peak.look()
    peaks = comm.gather(peak.total_mib)
    if comm.rank == 0:
        write(folder / "answer.json", Answer(*answer, peaks, comm.device))
    comm.barrier()


def _step(job: Job, shards: Shards, comm: ranks.Comm) -> Callable[[tf.Tensor, tf.Tensor], float]:
    """Waits for the loss, as training does."""
    tf.keras.utils.set_random_seed(0)
    network = models.build(job.network, shards.manifest.size, pretrained=False)
    freeze.freeze(network, STAGE.encoder)
    optimizer = optimizers.build(STAGE, network.model.trainable_variables, mixed=False)
    comm.broadcast([*network.model.variables, *optimizers.state(optimizer)])
    step = Step(network, optimizer, losses.bce_dice, comm)
    return lambda images, masks: step(iter([(images, masks)]), STAGE.lr, number=0, stop=False).loss


def _order(job: Job, shards: Shards, comm: ranks.Comm) -> np.ndarray:
    """This rank's share of as many epochs as the benchmark takes, and some more: the feed must not run dry."""
    needed = job.rounds * job.steps + 16
    rows = [epoch_order(np.arange(len(shards)), 0, 0, job.batch * comm.size)]
    while sum(map(len, rows)) < needed:
        rows.append(epoch_order(np.arange(len(shards)), 0, len(rows), job.batch * comm.size))
    return rank_share(np.concatenate(rows)[:needed], comm.rank, comm.size)


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
