"""One optimizer step on all ranks: the only place where they talk while they train."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from cloudseg.core.errors import CloudsegError
from cloudseg.nets import freeze
from cloudseg.nets.losses import Loss
from cloudseg.nets.masks import unpack
from cloudseg.nets.metrics import pooled_sums
from cloudseg.nets.models import Network
from cloudseg.training import determinism, optimizers
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
    """Steps of some micro-batches a rank each; traced once.

    Gradients, BatchNorm's moving statistics, loss, sums and the wish to stop travel together, so after every step all
    ranks hold the same state and a checkpoint of rank 0 is one of all; `compressed` gradients travel as float16.
    BatchNorm's statistics start each micro-batch from where they were before the step, so that many on one rank do what
    one on each of many ranks does.
    """

    def __init__(
        self,
        network: Network,
        optimizer: tf.keras.optimizers.Optimizer,
        loss: Loss,
        comm: Comm,
        micro_batches: int = 1,
        compressed: bool = False,
    ) -> None:
        variables = network.model.trainable_variables
        statistics = freeze.moving_statistics(network.model)
        self._comm, self._earlier, self._parts = comm, micro_batches - 1, micro_batches * comm.size
        classes = network.model.output_shape[-1]
        # Of the earlier micro-batches of a step: sums of what `one` returns; and the statistics before the step.
        shapes = [*(v.shape for v in variables), (), (classes, 2, 3), *(s.shape for s in statistics)]
        kept = [tf.Variable(tf.zeros(shape), trainable=False) for shape in shapes if self._earlier]
        origin = [tf.Variable(s, trainable=False) for s in statistics if self._earlier]

        def one(images: tf.Tensor, masks: tf.Tensor) -> list[tf.Tensor]:
            for variable, value in zip(statistics, origin, strict=False):
                variable.assign(value)
            targets, valid = unpack(masks)
            with tf.GradientTape() as tape:
                logits = network.logits(images, training=True)
                own = loss(logits, targets, valid)
                scaled = optimizers.scaled(optimizer, own)
            gradients = tape.gradient(scaled, variables)
            return [*gradients, own, pooled_sums(logits, targets, valid), *(s.read_value() for s in statistics)]

        @tf.function(autograph=False)
        def begin() -> None:
            for value, variable in zip(origin, statistics, strict=True):
                value.assign(variable)
            for total in kept:
                total.assign(tf.zeros_like(total))

        @tf.function(autograph=False)
        def add(images: tf.Tensor, masks: tf.Tensor) -> None:
            for total, value in zip(kept, one(images, masks), strict=True):
                total.assign_add(value)

        @tf.function(autograph=False)
        def last(
            images: tf.Tensor, masks: tf.Tensor, rate: tf.Tensor, number: tf.Tensor, stop: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            own = one(images, masks)
            if kept:
                own = [(total + value) / micro_batches for total, value in zip(kept, own, strict=True)]
            count = len(variables)
            sent = [tf.cast(g, tf.float16 if compressed else g.dtype) for g in own[:count]]
            *received, at, stopping = comm.mean([*sent, *own[count:], number, tf.cast(stop, tf.float32)])
            gradients = [tf.cast(g, v.dtype) for g, v in zip(received[:count], variables, strict=True)]
            mean_loss, sums, *means = received[count:]
            for variable, mean in zip(statistics, means, strict=True):
                variable.assign(mean)
            optimizers.apply(optimizer, gradients, variables, rate)
            return mean_loss, sums, at, stopping > 0

        self._begin, self._add, self._last = begin, add, last
        ordered = comm.ordered and not optimizers.scales(optimizer)
        self._executor = determinism.in_order if ordered else contextlib.nullcontext

    def __call__(self, batches: Iterator[Batch], rate: float, number: int, stop: bool) -> Outcome:
        """Take what step `number` needs from `batches`, and step at this learning rate. `stop` is this rank's wish.

        Raises CloudsegError if the ranks are not all at the same step.
        """
        with self._executor():
            if self._earlier:
                self._begin()
            for _ in range(self._earlier):
                self._add(*next(batches))
            loss, sums, at, stopping = self._last(
                *next(batches), tf.constant(rate), tf.constant(float(number)), tf.constant(stop)
            )
        if abs(float(at) - number) > 0.1:
            raise CloudsegError(
                f"rank {self._comm.rank} is at step {number} and the mean of all ranks is {float(at):g}: they are out "
                "of step, and what they put together is worth nothing"
            )
        return Outcome(float(loss), sums.numpy() * self._parts, bool(stopping))
