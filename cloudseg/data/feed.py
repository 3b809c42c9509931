"""Which samples every rank sees in which step, and their batches, read ahead of the training step."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from cloudseg.data.order import sample_seed
from cloudseg.data.shards import Shards

Augment = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def training_batches(
    shards: Shards, order: np.ndarray, augment: Augment | None, seed: int, epoch: int
) -> tf.data.Dataset:
    """Batches of (image uint8 (b, H, W, 3), mask uint8 (b, H, W)) for `order`, int (steps, b) of sample numbers.

    `augment` gets a seed made of (seed, epoch, sample), so a batch is the same on whatever rank it is made and
    whether or not the run was interrupted before it.
    """
    height, width = shards.manifest.size

    def load(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        samples = order[int(step)]
        images = np.empty((len(samples), height, width, 3), np.uint8)
        masks = np.empty((len(samples), height, width), np.uint8)
        for row, sample in enumerate(samples):
            image, mask = shards.image(sample), shards.mask(sample)
            if augment is not None:
                image, mask = augment(image, mask, sample_seed(seed, epoch, int(sample)))
            images[row], masks[row] = image, mask
        return images, masks

    shapes = ((order.shape[1], height, width, 3), (order.shape[1], height, width))
    return _pipeline(len(order), load, shapes)


def validation_batches(shards: Shards, samples: np.ndarray, batch: int) -> tf.data.Dataset:
    """Batches of (image uint8 (b, H, W, 3), mask uint8 (b, H, W), truth uint8 (b, h, w)), in order; the last may
    be smaller."""
    parts = [samples[i : i + batch] for i in range(0, len(samples), batch)]

    def load(step: np.ndarray) -> tuple[np.ndarray, ...]:
        part = parts[int(step)]
        return tuple(np.stack([read(i) for i in part]) for read in (shards.image, shards.mask, shards.truth))

    (height, width), (truth_height, truth_width) = shards.manifest.size, shards.manifest.truth_size
    shapes = ((None, height, width, 3), (None, height, width), (None, truth_height, truth_width))
    return _pipeline(len(parts), load, shapes)


def _pipeline(
    steps: int, load: Callable[..., tuple[np.ndarray, ...]], shapes: tuple[tuple[int | None, ...], ...]
) -> tf.data.Dataset:
    def fetch(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        arrays = tf.numpy_function(load, [step], [tf.uint8] * len(shapes))
        return tuple(tf.ensure_shape(array, shape) for array, shape in zip(arrays, shapes, strict=True))

    # numpy_function holds Python's lock except inside HDF5 and OpenCV; a few calls at once hide the rest.
    calls = min(4, len(os.sched_getaffinity(0)))
    return tf.data.Dataset.range(steps).map(fetch, num_parallel_calls=calls, deterministic=True).prefetch(2)
