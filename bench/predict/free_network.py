"""Cloudseg's prediction with a network that costs nothing: what is left is reading, preparing and storing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.predict import ours
from bench.predict.job import Job
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.training.comm import Solo


def contender(job: Job) -> Callable[[], float]:
    ready = np.zeros((job.batch, len(CLASSES), *TRUTH_SIZE), np.uint8)
    return ours.pipeline(job, lambda images, valid: (ready[: len(images)], None), Solo())
