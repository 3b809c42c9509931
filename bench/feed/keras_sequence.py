"""Baseline: `keras.utils.Sequence` that decodes JPEGs and run-length masks in every epoch, as Kaggle kernels do.

Keras's queue, with W threads, feeds the batches through `from_generator`, as `model.fit` does.
"""

from __future__ import annotations

import multiprocessing.dummy
import threading
from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf

from bench import kernel
from bench.feed.job import Job, samples_per_second
from bench.source import Source


class Images(tf.keras.utils.Sequence):
    def __init__(self, source: Source, size: tuple[int, int], batch: int, samples: int) -> None:
        rows = source.rows()
        self._images = [(path, rows[path.name]) for path in source.paths()[:samples]]
        self._size, self._batch = size, batch
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self._images) // self._batch

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        part = self._order[number * self._batch : (number + 1) * self._batch]
        pairs = [kernel.image_and_masks(path, rows, self._size) for path, rows in (self._images[i] for i in part)]
        bits = np.array([1 << i for i in range(len(kernel.CLASSES))], np.uint8)
        return np.stack([image for image, _ in pairs]), np.stack([(masks > 0.5) @ bits for _, masks in pairs])

    def on_epoch_end(self) -> None:
        self._order = np.random.permutation(len(self._images))


def contender(job: Job) -> Callable[[], float]:
    if job.images is None:
        raise ValueError("the JPEGs are needed")
    cv2.setNumThreads(1)
    size = job.open().manifest.size
    sequence = Images(job.images, size, job.batch, job.samples)
    signature = tuple(tf.TensorSpec((job.batch, *shape), tf.uint8) for shape in ((*size, 3), size))

    def measure() -> float:
        before = set(threading.enumerate())
        queue = tf.keras.utils.OrderedEnqueuer(sequence)
        queue.start(workers=job.workers, max_queue_size=4)
        try:
            dataset = tf.data.Dataset.from_generator(queue.get, output_signature=signature)
            return samples_per_second(iter(dataset.prefetch(1)), job)
        finally:
            queue.stop()
            # The pool still works on queued batches, which must not disturb the next measurement.
            for thread in set(threading.enumerate()) - before:
                if isinstance(thread, multiprocessing.dummy.DummyProcess):
                    thread.join()

    return measure
