"""One optimizer step on all ranks: the only communication while an epoch trains."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from cloudseg.core.errors import CloudsegError
from cloudseg.nets import freeze, losses, presence
from cloudseg.nets.losses import Loss
from cloudseg.nets.masks import unpack
from cloudseg.nets.metrics import pooled_sums
from cloudseg.nets.models import Network
from cloudseg.training import determinism, optimizers
from cloudseg.training.comm import Comm

Batch = tuple[tf.Tensor, ...]
"""Images, uint8 (b, H, W, 3), packed masks, uint8 (b, H, W), and, unless all are 1, weights of the images in the loss,
float32 (b,)."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one step, the same on all ranks."""

    loss: float
    """Mean loss of all images of the step."""
    sums: np.ndarray
    """`metrics.pooled_sums` of all images of the step, float32 (C, 2, 3)."""
    stopping: bool
    """Whether any rank has been asked to stop."""


class Step:
    """Optimizer steps of `micro_batches` micro-batches per rank; traced once.

    Gradients, moving statistics of BatchNorm, loss, sums and stop flag are averaged together, so all ranks hold the
    same state after every step, and a checkpoint of rank 0 is valid for all. With `compressed`, gradients are sent as
    float16. Each micro-batch starts from the moving statistics before the step, so that several micro-batches on one
    rank give the same result as one micro-batch on each of several ranks. `presence_weight` is the weight of the loss
    of the network's presence head, if it has one.
    """

    def __init__(
        self,
        network: Network,
        optimizer: tf.keras.optimizers.Optimizer,
        loss: Loss,
        comm: Comm,
        micro_batches: int = 1,
        compressed: bool = False,
        presence_weight: float = 0.0,
    ) -> None:
        self._network, self._optimizer, self._loss, self._comm = network, optimizer, loss, comm
        self._micro_batches, self._compressed, self._presence_weight = micro_batches, compressed, presence_weight
        self._variables = network.model.trainable_variables
        self._statistics = freeze.moving_statistics(network.model)
        shapes = [v.shape for v in (*self._variables, *self._statistics)]
        shapes[len(self._variables) : len(self._variables)] = [(), (network.classes, 2, 3)]
        self._sums = [tf.Variable(tf.zeros(shape), trainable=False) for shape in shapes if micro_batches > 1]
        """Sums of what `_gradients` returns over the micro-batches of this step so far."""
        self._before = [tf.Variable(s, trainable=False) for s in self._statistics if micro_batches > 1]
        """The moving statistics before this step."""
        self._begin = tf.function(self._begin_step, autograph=False)
        self._add = tf.function(self._accumulate, autograph=False)
        self._finish = tf.function(self._finish_step, autograph=False)
        ordered = comm.ordered and not optimizers.scales(optimizer)
        self._executor = determinism.in_order if ordered else contextlib.nullcontext

    def __call__(self, batches: Iterator[Batch], rate: float, number: int, stop: bool) -> Outcome:
        """Do step `number` at learning rate `rate`, with the next micro-batches of `batches`.

        `stop` says whether this rank has been asked to stop. Raises CloudsegError if the ranks are not all at the same
        step.
        """
        with self._executor():
            if self._sums:
                self._begin()
            for _ in range(self._micro_batches - 1):
                self._add(next(batches))
            loss, sums, mean_number, stopping = self._finish(
                next(batches), tf.constant(rate), tf.constant(float(number)), tf.constant(stop)
            )
        if abs(float(mean_number) - number) > 0.1:
            raise CloudsegError(
                f"rank {self._comm.rank} is at step {number} and the mean over all ranks is {float(mean_number):g}: "
                "the ranks are out of step, and their averaged gradients are invalid"
            )
        return Outcome(float(loss), sums.numpy() * self._micro_batches * self._comm.size, bool(stopping))

    def _begin_step(self) -> None:
        """Copy the moving statistics, and set the sums to zero."""
        for before, variable in zip(self._before, self._statistics, strict=True):
            before.assign(variable)
        for total in self._sums:
            total.assign(tf.zeros_like(total))

    def _accumulate(self, batch: Batch) -> None:
        """Add the gradients of a micro-batch to the sums."""
        for total, value in zip(self._sums, self._gradients(*batch), strict=True):
            total.assign_add(value)

    def _finish_step(self, batch: Batch, rate: tf.Tensor, number: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Process the last micro-batch, average over all ranks, and apply the gradients.

        Returns the mean loss, the mean of `metrics.pooled_sums`, the mean of the ranks' step numbers, and whether any
        rank has been asked to stop.
        """
        local = self._gradients(*batch)
        if self._sums:
            local = [(total + value) / self._micro_batches for total, value in zip(self._sums, local, strict=True)]
        count = len(self._variables)
        sent = [tf.cast(g, tf.float16 if self._compressed else g.dtype) for g in local[:count]]
        *received, mean_number, stopping = self._comm.mean([*sent, *local[count:], number, tf.cast(stop, tf.float32)])
        gradients = [tf.cast(g, v.dtype) for g, v in zip(received[:count], self._variables, strict=True)]
        mean_loss, sums, *means = received[count:]
        for variable, mean in zip(self._statistics, means, strict=True):
            variable.assign(mean)
        optimizers.apply(self._optimizer, gradients, self._variables, rate)
        return mean_loss, sums, mean_number, stopping > 0

    def _gradients(self, images: tf.Tensor, masks: tf.Tensor, weights: tf.Tensor | None = None) -> list[tf.Tensor]:
        """Gradients of the (scaled) loss, loss, `metrics.pooled_sums` and moving statistics of one micro-batch."""
        for variable, value in zip(self._statistics, self._before, strict=False):
            variable.assign(value)
        targets, valid = unpack(masks)
        with tf.GradientTape() as tape:
            logits, present = self._network.outputs(images, training=True)
            loss = self._mean_loss(logits, targets, valid, present, weights)
            scaled = optimizers.scaled(self._optimizer, loss)
        gradients = tape.gradient(scaled, self._variables)
        return [*gradients, loss, pooled_sums(logits, targets, valid), *(s.read_value() for s in self._statistics)]

    def _mean_loss(
        self,
        logits: tf.Tensor,
        targets: tf.Tensor,
        valid: tf.Tensor,
        present: tf.Tensor | None,
        weights: tf.Tensor | None,
    ) -> tf.Tensor:
        """Mean over the images of their loss with that of the presence head, times their weight."""

        def loss(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor, present: tf.Tensor | None) -> tf.Tensor:
            masks = self._loss(logits, targets, valid)
            return presence.add_loss(masks, self._presence_weight, present, targets, valid)

        if weights is None:
            return loss(logits, targets, valid, present)
        return losses.weighted(loss, weights, logits, targets, valid, present)
