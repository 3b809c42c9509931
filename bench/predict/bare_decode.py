"""The bare decoding of the pictures, in one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.predict.job import Job
from preprocess.images import decode_image


def contender(job: Job) -> Callable[[], float]:
    contents = [path.read_bytes() for path in job.paths()]

    def measure() -> float:
        began = time.perf_counter()
        for content in contents:
            decode_image(content, half=False, any_size=True)
        return len(contents) / (time.perf_counter() - began)

    return measure
