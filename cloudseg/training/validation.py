"""Validation on all ranks: each rank processes its share of the batches, and counts and sums are gathered exactly."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from cloudseg.core.errors import Stopped
from cloudseg.data.feed import validation_batches
from cloudseg.data.shards import Shards
from cloudseg.nets import presence
from cloudseg.nets.losses import Loss
from cloudseg.nets.masks import unpack
from cloudseg.nets.metrics import pooled_sums
from cloudseg.nets.models import Network
from cloudseg.nets.scores import pixel_counts
from cloudseg.training.comm import Comm

THREADS = 4
PENDING = 8
"""Maximum number of batches whose pixels are still to be counted."""


@dataclasses.dataclass(frozen=True)
class Validation:
    """Loss and counts of the validation images, the same on all ranks."""

    loss: float
    """Mean loss of the images, with that of the presence head."""
    counts: np.ndarray
    """`scores.pixel_counts`, int64 (n, classes, thresholds, 3), in the order of the samples."""
    sums: np.ndarray
    """`metrics.pooled_sums` of all images, float64 (C, 2, 3)."""


class Validator:
    """Validates a network on fixed `samples`, indices in the data set, int (n,). Traced once.

    `presence_weight` is that of `Step`. Calls `progressed` after every batch. A call raises Stopped, on all ranks, if
    `stopping` returns True on any rank.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        shards: Shards,
        samples: np.ndarray,
        batch: int,
        comm: Comm,
        thresholds: Sequence[float],
        progressed: Callable[[], None] = lambda: None,
        stopping: Callable[[], bool] = lambda: False,
        presence_weight: float = 0.0,
    ) -> None:
        # Ranks take whole batches, which are the same for any number of ranks: the last bit of an image's logits may
        # depend on the other images of its batch.
        self._batches = [samples[i : i + batch] for i in range(0, len(samples), batch)]
        self._shards, self._batch, self._comm, self._progressed = shards, batch, comm, progressed
        self._stopping, self._thresholds = stopping, tuple(thresholds)

        @tf.function(autograph=False, reduce_retracing=True)
        def measure(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, ...]:
            logits, present = network.outputs(images, training=False)
            targets, valid = unpack(masks)
            probabilities = tf.transpose(tf.sigmoid(logits), (0, 3, 1, 2))
            mean_loss = presence.add_loss(loss(logits, targets, valid), presence_weight, present, targets, valid)
            return mean_loss, pooled_sums(logits, targets, valid), probabilities

        self._measure = measure

    def __call__(self) -> Validation:
        share = self._batches[self._comm.rank :: self._comm.size]
        local = self._measure_samples(np.concatenate([*share, np.empty(0, np.int64)]).astype(np.int64))
        gathered = self._comm.gather(None if self._stopping() else local)
        if None in gathered:
            raise Stopped("validation stopped on a signal")
        size = self._comm.size
        # In the order of the batches, as sums of floats depend on it.
        losses, counts, sums = zip(*(gathered[i % size][i // size] for i in range(len(self._batches))), strict=True)
        loss = sum(losses) / sum(map(len, self._batches))
        return Validation(loss, np.concatenate(counts).astype(np.int64), np.sum(np.array(sums), axis=0))

    def _measure_samples(self, samples: np.ndarray) -> list[tuple[float, list, list]]:
        """Loss (sum over the images), counts and sums of each batch of `samples`, of fewer batches if this rank is
        asked to stop."""
        measured: list[tuple[float, Future[list], list]] = []
        # Pixels are counted on the CPU while the device processes the next batches.
        with ThreadPoolExecutor(min(THREADS, len(os.sched_getaffinity(0)))) as pool:
            for images, masks, truth in validation_batches(self._shards, samples, self._batch):
                loss, sums, probabilities = self._measure(images, masks)
                counts = pool.submit(self._count, probabilities.numpy(), truth.numpy())
                measured.append((float(loss) * len(images), counts, sums.numpy().astype(np.float64).tolist()))
                if len(measured) > PENDING:
                    measured[-PENDING][1].result()
                self._progressed()
                if self._stopping():
                    break
        return [(loss, counts.result(), sums) for loss, counts, sums in measured]

    def _count(self, probabilities: np.ndarray, truth: np.ndarray) -> list:
        """`scores.pixel_counts` of each image of a batch."""
        return [
            pixel_counts(probability, mask, self._thresholds).tolist()
            for probability, mask in zip(probabilities, truth, strict=True)
        ]
