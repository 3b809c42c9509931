"""Baseline of TensorFlow: MultiWorkerMirroredStrategy with the same network, loss, optimizer, batch and sums for the
training Dice."""

from __future__ import annotations

import json
import os

import tensorflow as tf

from bench.contender import Measure
from bench.scaling.batch import images_and_masks
from bench.scaling.job import Job, pin, rate
from bench.training import RATE
from cloudseg.nets import freeze, losses, models
from cloudseg.nets.masks import unpack
from cloudseg.nets.metrics import pooled_sums


def contender(job: Job) -> Measure:
    threads = pin(job)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    workers = [f"127.0.0.1:{port}" for port in job.ports]
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": job.rank}}
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        network = models.build(job.network, job.size, pretrained=False)
        freeze.freeze(network, job.encoder)
        optimizer = tf.keras.optimizers.Adam(RATE)
        optimizer.build(network.model.trainable_variables)
    batch = [tf.constant(part) for part in images_and_masks(job)]

    def replica_step(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        targets, valid = unpack(masks)
        with tf.GradientTape() as tape:
            logits = network.logits(images, training=True)
            loss = losses.bce_dice(logits, targets, valid) / job.ranks
        variables = network.model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss, pooled_sums(logits, targets, valid)

    @tf.function
    def step() -> tuple[tf.Tensor, tf.Tensor]:
        loss, sums = strategy.run(replica_step, args=tuple(batch))
        return tuple(strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in (loss, sums))

    return lambda: rate(job, lambda: [part.numpy() for part in step()])
