"""Cloudseg's step on Horovod ranks."""

from __future__ import annotations

import os

import tensorflow as tf

from bench.contender import Measure
from bench.scaling.batch import images_and_masks
from bench.scaling.job import Job, pin, rate
from bench.training import Training
from cloudseg.core import attempt
from cloudseg.training import comm
from cloudseg.training.comm import Comm


def contender(job: Job) -> Measure:
    return measure_of(job, connect(job))


def connect(job: Job) -> Comm:
    """Bind this rank to its CPUs, and connect it to the other ranks of `job`."""
    pin(job)
    os.environ |= {"CLOUDSEG_RANK": str(job.rank), "CLOUDSEG_SIZE": str(job.ranks), attempt.KEY_VARIABLE: "scaling"}
    return comm.start(attempt.current(job.folder))


def measure_of(job: Job, ranks: Comm) -> Measure:
    training = Training(job.network, job.size, ranks, job.encoder)
    batch = [tf.constant(part) for part in images_and_masks(job)]
    return lambda: rate(job, lambda: training.step(*batch))
