"""Limit: the same augmentation in a plain loop over samples in memory, without TensorFlow.

`workers` processes do it at the same time; the speed is the sum of theirs.
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

HELD = 64
"""Samples in the memory of each process."""
_held: list[tuple[np.ndarray, np.ndarray]] = []


def contender(job: Job) -> Callable[[], float]:
    if job.workers == 1:
        _hold(job)
        return lambda: _augment(job)
    pool = multiprocessing.get_context("spawn").Pool(job.workers, _hold, (job,))
    return lambda: sum(pool.map(_augment, [job] * job.workers, chunksize=1))


def _hold(job: Job) -> None:
    cv2.setNumThreads(1)
    shards = job.open()
    _held.extend((shards.image(i).copy(), shards.mask(i).copy()) for i in range(min(HELD, job.samples)))


def _augment(job: Job) -> float:
    height, width = _held[0][1].shape
    augment = Augmenter((height, width))
    augment(*_held[0], 0)
    began, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < job.seconds:
        augment(*_held[count % len(_held)], sample_seed(0, count // len(_held), count % len(_held)))
        count += 1
    return count / elapsed
