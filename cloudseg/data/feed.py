"""Feeds batches of samples to TensorFlow, ahead of the training step."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import numpy as np
import tensorflow as tf

from cloudseg.core.errors import CloudsegError
from cloudseg.data.batches import Augment, batch_arrays, batch_bytes, fill, sample_size
from cloudseg.data.buffers import Slots
from cloudseg.data.shards import Shards
from cloudseg.data.workers import EXTRA_SLOTS, Workers

Arrays = tuple[np.ndarray, ...]
THREADS = 4
READ_AHEAD = 2
"""Number of batches prepared ahead of the one in use."""


class Feed:
    """Training batches of one rank. Use it in a `with` statement, or close it.

    `augment` gets a seed derived from (seed, epoch, sample), so a sample is augmented equally on every rank, in every
    process and after a resume. `workers` is the number of worker processes that make batches; with 0, threads of this
    process make them.
    """

    def __init__(self, shards: Shards, batch: int, augment: Augment | None, seed: int, workers: int = 0) -> None:
        self._shards, self._batch, self._augment, self._seed = shards, batch, augment, seed
        self._workers = Workers(shards.manifest, augment, batch, workers) if workers else None
        # One call more than worker processes, so that a process never waits for a task.
        self._calls = workers + 1 if workers else min(THREADS, len(os.sched_getaffinity(0)))
        slots, self._size = self._calls + EXTRA_SLOTS, sample_size(shards.manifest, augment)
        self._slots = Slots(mmap.mmap(-1, slots * batch_bytes(batch, self._size)), slots)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        if self._workers is not None:
            self._workers.close()

    def batches(self, order: np.ndarray, epoch: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Yield images, uint8 (b, H, W, 3), and masks, uint8 (b, H, W), of `sample_size`, for each row of `order`.

        `order` holds sample numbers, int (steps, b). Raises DataError, naming sample and shard, if a sample's checksum
        is wrong.
        """

        def make(step: int) -> Arrays:
            if self._workers is not None:
                return self._workers.make(order[step], self._seed, epoch)
            _, memory = self._slots.take()
            images, masks = batch_arrays(memory, self._batch, size)
            fill(images, masks, self._shards, order[step], self._augment, self._seed, epoch)
            return batch_arrays(self._slots.copy_if_last(memory), self._batch, size)

        size = self._size
        return _read_ahead(len(order), make, ((self._batch, *size, 3), (self._batch, *size)), self._calls)


def validation_batches(shards: Shards, samples: np.ndarray, batch: int) -> Iterator[tuple[tf.Tensor, ...]]:
    """Yield batches of `samples` in order: images, uint8 (b, H, W, 3), masks, uint8 (b, H, W), and ground truth, uint8
    (b, h, w). The last batch may be smaller. Raises DataError as `Feed.batches` does."""
    parts = [samples[i : i + batch] for i in range(0, len(samples), batch)]

    def make(step: int) -> Arrays:
        for sample in parts[step].tolist():
            shards.check(sample, shards.image(sample), shards.mask(sample))
        return tuple(np.stack([read(i) for i in parts[step]]) for read in (shards.image, shards.mask, shards.truth))

    (height, width), truth = shards.manifest.size, shards.manifest.truth_size
    shapes = ((None, height, width, 3), (None, height, width), (None, *truth))
    return _read_ahead(len(parts), make, shapes, min(THREADS, len(os.sched_getaffinity(0))))


def _read_ahead(
    steps: int, make: Callable[[int], Arrays], shapes: tuple[tuple[int | None, ...], ...], calls: int
) -> Iterator[tuple[tf.Tensor, ...]]:
    """Yield the results of `make` for each step in order, computed ahead in `calls` threads.

    A CloudsegError of `make` is raised unchanged; TensorFlow would wrap it.
    """
    errors: list[CloudsegError] = []

    def load(step: np.ndarray) -> Arrays:
        if errors:
            raise CancelledError
        try:
            return make(int(step))
        except CloudsegError as error:
            errors.append(error)
            raise

    @tf.autograph.experimental.do_not_convert
    def fetch(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        arrays = tf.numpy_function(load, [step], [tf.uint8] * len(shapes))
        return tuple(tf.ensure_shape(array, shape) for array, shape in zip(arrays, shapes, strict=True))

    batches = tf.data.Dataset.range(steps).map(fetch, num_parallel_calls=calls, deterministic=True).prefetch(READ_AHEAD)
    options = tf.data.Options()
    options.threading.private_threadpool_size = calls + 1  # the shared pool may have only one thread
    try:
        yield from batches.with_options(options)
    except tf.errors.OpError:
        if errors:
            raise errors[0] from None
        raise
