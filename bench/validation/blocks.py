"""Code of every rank: blocks of images, alternately validated and only passed through the network."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from bench.ranks import read_job, write_answer
from bench.validation.job import Answer, Job
from cloudseg.core import attempt
from cloudseg.data.shards import Manifest, Shards
from cloudseg.nets import losses, models
from cloudseg.training import comm as ranks
from cloudseg.training.validation import Validator


def measure(folder: Path) -> None:
    """Do the job in `folder`/job.json; rank 0 writes `folder`/answer.json."""
    job = read_job(folder, Job)
    comm = ranks.start(attempt.current(folder))
    shards = Shards(Manifest.load(job.shards))
    tf.keras.utils.set_random_seed(0)
    network = models.build(job.network, shards.manifest.size, pretrained=False)
    samples = np.arange(job.images) % len(shards)
    validate = Validator(network, losses.bce_dice, shards, samples, job.batch, comm, [0.5])
    batches = [samples[i : i + job.batch] for i in range(0, job.images, job.batch)][comm.rank :: comm.size]
    ready = [tf.constant(np.stack([shards.image(i) for i in batch])) for batch in batches]
    graph = tf.function(lambda images: network.logits(images, training=False), autograph=False, reduce_retracing=True)

    def forward() -> None:
        for images in ready:
            graph(images).numpy()

    def timed(block: Callable[[], object]) -> float:
        comm.barrier()
        began = time.perf_counter()
        block()
        comm.barrier()
        return job.images / (time.perf_counter() - began)

    speeds: dict[Callable[[], object], list[float]] = {validate: [], forward: []}
    for number in range(-1, job.rounds):  # the first round traces the graphs
        for block in (validate, forward) if number % 2 == 0 else (forward, validate):
            speed = timed(block)
            if number >= 0:
                speeds[block].append(speed)
    if comm.rank == 0:
        write_answer(folder, Answer(speeds[validate], speeds[forward], comm.device))
    comm.barrier()
