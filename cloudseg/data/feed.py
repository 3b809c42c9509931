"""Batches of samples for TensorFlow, read ahead of the training step."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import numpy as np
import tensorflow as tf

from cloudseg.core.errors import CloudsegError
from cloudseg.data.batches import Augment, batch_arrays, batch_bytes, fill
from cloudseg.data.buffers import Slots
from cloudseg.data.shards import Shards
from cloudseg.data.workers import WAITING, Workers

Arrays = tuple[np.ndarray, ...]
THREADS = 4
READ_AHEAD = 2
"""Batches that are ready while one is used."""


class Feed:
    """The training batches of one rank. To be used in a `with` statement, or closed.

    `augment` gets a seed made of (seed, epoch, sample), so a sample looks the same on whatever rank it is made, by
    whichever process, and whether or not the run was interrupted before it. `workers` processes make the batches, or,
    with 0, threads of this one.
    """

    def __init__(self, shards: Shards, batch: int, augment: Augment | None, seed: int, workers: int = 0) -> None:
        self._shards, self._batch, self._augment, self._seed = shards, batch, augment, seed
        self._workers = Workers(shards.manifest, augment, batch, workers) if workers else None
        # One call more than processes, so that a task waits for a process and not a process for a task.
        self._calls = workers + 1 if workers else min(THREADS, len(os.sched_getaffinity(0)))
        slots = self._calls + WAITING
        self._slots = Slots(mmap.mmap(-1, slots * batch_bytes(batch, shards.manifest.size)), slots)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._workers is not None:
            self._workers.close()

    def batches(self, order: np.ndarray, epoch: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Images uint8 (b, H, W, 3) and masks uint8 (b, H, W) for each row of `order`, int (steps, b), of sample
        numbers. Raises DataError, naming sample and shard, for a sample that is not what was written."""

        def make(step: int) -> Arrays:
            if self._workers is not None:
                return self._workers.make(order[step], self._seed, epoch)
            _, memory = self._slots.take()
            images, masks = batch_arrays(memory, self._batch, size)
            fill(images, masks, self._shards, order[step], self._augment, self._seed, epoch)
            return batch_arrays(self._slots.spared(memory), self._batch, size)

        size = self._shards.manifest.size
        return _read_ahead(len(order), make, ((self._batch, *size, 3), (self._batch, *size)), self._calls)


def validation_batches(shards: Shards, samples: np.ndarray, batch: int) -> Iterator[tuple[tf.Tensor, ...]]:
    """Batches of (image uint8 (b, H, W, 3), mask uint8 (b, H, W), truth uint8 (b, h, w)), in order; the last may
    be smaller. Raises DataError as `Feed.batches` does."""
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
    """What `make` gives for each step in order, made in `calls` threads ahead of time; its errors come out as they
    are, where TensorFlow would wrap them."""
    faults: list[CloudsegError] = []

    def load(step: np.ndarray) -> Arrays:
        if faults:
            raise CancelledError
        try:
            return make(int(step))
        except CloudsegError as error:
            faults.append(error)
            raise

    @tf.autograph.experimental.do_not_convert
    def fetch(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        arrays = tf.numpy_function(load, [step], [tf.uint8] * len(shapes))
        return tuple(tf.ensure_shape(array, shape) for array, shape in zip(arrays, shapes, strict=True))

    batches = tf.data.Dataset.range(steps).map(fetch, num_parallel_calls=calls, deterministic=True).prefetch(READ_AHEAD)
    options = tf.data.Options()
    options.threading.private_threadpool_size = calls + 1  # training's own threads may be as few as one
    try:
        yield from batches.with_options(options)
    except tf.errors.OpError:
        if faults:
            raise faults[0] from None
        raise
