"""Limit: the same augmentation in a plain loop over samples in memory, without TensorFlow.

`workers` processes do it at the same time; the result is the sum of their speeds.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

import cv2
import numpy as np

from bench.feed.job import Job
from cloudseg.data.augment import Augmenter
from cloudseg.data.sample_order import sample_seed

SAMPLES = 64
"""Number of samples in the memory of each process."""
_samples: list[tuple[np.ndarray, np.ndarray]] = []


def contender(job: Job) -> Callable[[], float]:
    if job.workers == 1:
        _load(job)
        return lambda: _augment(job)
    pool = multiprocessing.get_context("spawn").Pool(job.workers, _load, (job,))
    return lambda: sum(pool.map(_augment, [job] * job.workers, chunksize=1))


def _load(job: Job) -> None:
    cv2.setNumThreads(1)
    shards = job.open()
    _samples.extend((shards.image(i).copy(), shards.mask(i).copy()) for i in range(min(SAMPLES, job.samples)))


def _augment(job: Job) -> float:
    height, width = _samples[0][1].shape
    augment = Augmenter((height, width))
    augment(*_samples[0], 0)
    began, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < job.seconds:
        epoch, sample = divmod(count, len(_samples))
        augment(*_samples[sample], sample_seed(0, epoch, sample))
        count += 1
    return count / elapsed
