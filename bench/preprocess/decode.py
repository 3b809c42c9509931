"""Baseline and lower limit: read each file and decode it with OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from bench.preprocess.job import Job, images_per_second


def contender(job: Job) -> Callable[[], float]:
    return images_per_second(job, _decode)


def _decode(job: Job) -> None:
    for path, _ in job.images:
        cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
