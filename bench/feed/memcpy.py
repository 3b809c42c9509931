"""Limit: the same samples copied from the memory map into one reused batch, by one thread, without TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from bench.feed.job import Job, samples_per_second


def contender(job: Job) -> Callable[[], float]:
    shards, seeds = job.open(), itertools.count()
    height, width = shards.manifest.size
    images, masks = np.empty((job.batch, height, width, 3), np.uint8), np.empty((job.batch, height, width), np.uint8)

    def batches(order: np.ndarray) -> Iterator[None]:
        for samples in order.tolist():
            for row, sample in enumerate(samples):
                np.copyto(images[row], shards.image(sample))
                np.copyto(masks[row], shards.mask(sample))
            yield

    return lambda: samples_per_second(batches(job.order(next(seeds))), job)
