"""The network of the contenders: random weights, all CPUs of the process."""

from __future__ import annotations

import tensorflow as tf

from bench.predict.job import Job
from cloudseg.nets import models
from cloudseg.nets.models import Network
from cloudseg.training.comm import Solo


def build(job: Job) -> tuple[Network, Solo]:
    comm = Solo()  # claims the CPUs, before TensorFlow's first operation
    tf.keras.utils.set_random_seed(0)
    return models.build(job.network, job.size, pretrained=False), comm
