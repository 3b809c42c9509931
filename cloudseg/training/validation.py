"""Validation on all ranks: each takes its share of the images, and counts and sums are put together exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cloudseg.data.feed import validation_batches
from cloudseg.data.shards import Shards
from cloudseg.nets.losses import Loss
from cloudseg.nets.masks import unpack
from cloudseg.nets.metrics import pixel_counts
from cloudseg.nets.models import Network
from cloudseg.training.comm import Comm


class Validator:
    """Measures a network on fixed samples; traced once, used after every epoch."""

    def __init__(
        self,
        network: Network,
        loss: Loss,
        shards: Shards,
        samples: np.ndarray,
        batch: int,
        comm: Comm,
        thresholds: Sequence[float],
    ) -> None:
        self._samples, self._comm = samples, comm
        self._share = samples[comm.rank :: comm.size]
        self._shards, self._batch = shards, batch
        self._shape = (4, len(thresholds), 3)
        limits = tf.constant(thresholds, tf.float32)

        @tf.function(reduce_retracing=True)
        def measure(images: tf.Tensor, masks: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = network.logits(images, training=False)
            return loss(logits, *unpack(masks)), pixel_counts(logits, truth, limits)

        self._measure = measure

    def __call__(self) -> tuple[float, np.ndarray]:
        """The mean loss, and the pixel counts int64 (n, classes, thresholds, 3) in the order of the samples."""
        loss_sum, own = 0.0, [np.zeros((0, *self._shape), np.int64)]
        for images, masks, truth in validation_batches(self._shards, self._share, self._batch):
            loss, counts = self._measure(images, masks, truth)
            loss_sum += float(loss) * len(images)
            own.append(counts.numpy().astype(np.int64))
        everyone = self._comm.gather((loss_sum, np.concatenate(own)))
        counts = np.empty((len(self._samples), *self._shape), np.int64)
        for rank, (_, share) in enumerate(everyone):
            counts[rank :: self._comm.size] = share
        return sum(loss for loss, _ in everyone) / len(self._samples), counts
