"""Baseline of a typical Kaggle kernel: full-size masks by numpy, resize, one .npy per image and one .png per mask."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from bench import kernel
from bench.preprocess.job import Job, images_per_second


def contender(job: Job) -> Callable[[], float]:
    return images_per_second(job, _convert)


def _convert(job: Job) -> None:
    job.scratch.mkdir(parents=True, exist_ok=True)
    for path, rows in job.images:
        image, masks = kernel.image_and_masks(path, rows, job.size)
        np.save(job.scratch / f"{path.stem}.npy", image)
        for label, runs in rows:
            # For an absent class, kernels store nothing or an empty mask; nothing is faster.
            if runs:
                file = job.scratch / f"{path.stem}_{label}.png"
                cv2.imwrite(str(file), (255 * masks[..., kernel.CLASSES.index(label)]).astype(np.uint8))
