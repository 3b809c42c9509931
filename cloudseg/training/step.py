"""One optimizer step on all ranks: the only place where they talk while they train."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from cloudseg.nets import freeze
from cloudseg.nets.losses import Loss
from cloudseg.nets.masks import unpack
from cloudseg.nets.metrics import pooled_sums
from cloudseg.nets.models import Network
from cloudseg.training import optimizers
from cloudseg.training.comm import Comm

Batch = tuple[tf.Tensor, tf.Tensor]
"""images uint8 (b, H, W, 3) and masks uint8 (b, H, W)."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one step, the same on all ranks."""

    loss: float
    """Mean over all images of the step."""
    sums: np.ndarray
    """`metrics.pooled_sums` of all images of the step: float32 (C, 2, 3)."""
    stopping: bool
    """Whether any rank wants to stop."""


class Step:
    """Steps of `accumulate` batches a rank each; traced once.

    Gradients, BatchNorm's moving statistics, loss, sums and the wish to stop travel in one message, so after every step
    all ranks hold the same state and a checkpoint of rank 0 is one of all.
    """

    def __init__(
        self, network: Network, optimizer: tf.keras.optimizers.Optimizer, loss: Loss, comm: Comm, accumulate: int = 1
    ) -> None:
        variables = network.model.trainable_variables
        statistics = freeze.moving_statistics(network.model)
        self._earlier, self._parts = accumulate - 1, accumulate * comm.size
        classes = network.model.output_shape[-1]
        # Of the earlier batches of a step: sums of gradients, then of the loss, then `pooled_sums`.
        shapes = [*(v.shape for v in variables), (), (classes, 2, 3)] if self._earlier else []
        kept = [tf.Variable(tf.zeros(shape), trainable=False) for shape in shapes]

        def one(images: tf.Tensor, masks: tf.Tensor) -> list[tf.Tensor]:
            targets, valid = unpack(masks)
            with tf.GradientTape() as tape:
                logits = network.logits(images, training=True)
                own = loss(logits, targets, valid)
                scaled = optimizers.scaled(optimizer, own)
            return [*tape.gradient(scaled, variables), own, pooled_sums(logits, targets, valid)]

        @tf.function
        def add(images: tf.Tensor, masks: tf.Tensor) -> None:
            for total, value in zip(kept, one(images, masks), strict=True):
                total.assign_add(value)

        @tf.function
        def last(images: tf.Tensor, masks: tf.Tensor, rate: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, ...]:
            own = one(images, masks)
            if kept:
                own = [(total + value) / accumulate for total, value in zip(kept, own, strict=True)]
                for total in kept:
                    total.assign(tf.zeros_like(total))
            sent = [*own, *[s.read_value() for s in statistics], tf.cast(stop, tf.float32)]
            received = comm.mean(sent)
            gradients, (mean_loss, sums), means = (
                received[: len(variables)],
                received[len(variables) : len(own)],
                received[len(own) : -1],
            )
            for variable, mean in zip(statistics, means, strict=True):
                variable.assign(mean)
            optimizers.apply(optimizer, gradients, variables, rate)
            return mean_loss, sums, received[-1] > 0

        self._add, self._last = add, last

    def __call__(self, batches: Iterator[Batch], rate: float, stop: bool) -> Outcome:
        """Take what one step needs from `batches`, and step at this learning rate. `stop` is this rank's wish."""
        for _ in range(self._earlier):
            self._add(*next(batches))
        loss, sums, stopping = self._last(*next(batches), tf.constant(rate), tf.constant(stop))
        return Outcome(float(loss), sums.numpy() * self._parts, bool(stopping))
