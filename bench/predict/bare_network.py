"""The bare network on ready batches: logits, without reading, resizing and storing."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bench.predict import network
from bench.predict.job import Job


def contender(job: Job) -> Callable[[], float]:
    built, _ = network.build(job)
    count = len(job.paths())
    images = np.random.default_rng(0).integers(0, 256, (count, *job.size, 3), np.uint8)
    ready = [tf.constant(images[first : first + job.batch]) for first in range(0, count, job.batch)]
    graph = tf.function(lambda batch: built.logits(batch, training=False), autograph=False, reduce_retracing=True)

    def measure() -> float:
        began = time.perf_counter()
        for batch in ready:
            graph(batch).numpy()
        return count / (time.perf_counter() - began)

    return measure
