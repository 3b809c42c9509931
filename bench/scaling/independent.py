"""Baseline: cloudseg's step in processes without communication, the limit if communication were free."""

from __future__ import annotations

import tensorflow as tf

from bench.contender import Measure
from bench.scaling.batch import images_and_masks
from bench.scaling.job import Job, pin, rate
from bench.training import Training
from cloudseg.training.comm import Solo


def contender(job: Job) -> Measure:
    pin(job)
    training = Training(job.network, job.size, Solo(), job.encoder)
    batch = [tf.constant(part) for part in images_and_masks(job)]
    return lambda: rate(job, lambda: training.step(*batch))
