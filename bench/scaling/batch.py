"""One constant batch for all contenders, as reading data is not compared."""

from __future__ import annotations

import numpy as np

from bench.scaling.job import Job


def images_and_masks(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Random images, uint8 (n, H, W, 3), and packed masks, uint8 (n, H, W)."""
    random = np.random.default_rng(job.rank)
    shape = (job.batch, *job.size)
    return random.integers(0, 256, (*shape, 3), np.uint8), random.integers(0, 16, shape, np.uint8)
