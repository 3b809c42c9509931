"""The usual loop of notebooks: read, resize, `model.predict`, resize; one picture at a time. Stores nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from bench.predict import network
from bench.predict.job import Job
from cloudseg.data.shards import TRUTH_SIZE


def contender(job: Job) -> Callable[[], float]:
    built, _ = network.build(job)

    def measure() -> float:
        began = time.perf_counter()
        for path in job.paths():
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            small = cv2.resize(image, job.size[::-1]).astype(np.float32) / 127.5 - 1
            logits = built.model.predict(small[None], verbose=0)[0]
            cv2.resize(1 / (1 + np.exp(-logits)), TRUTH_SIZE[::-1])
        return len(job.paths()) / (time.perf_counter() - began)

    return measure
