"""Random views of a training sample, decided by the sample's own seed alone, whatever rank or thread makes them."""

from __future__ import annotations

import os
import threading

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2

from cloudseg.data.labels import NO_DATA


class Augmenter:
    """Flips, a rotation by at most 20 degrees, a crop and now and then a distortion.

    What comes in from outside the image is marked as without data, so losses leave it out.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        # Samples are made in several threads already, and some of OpenCV's pixels depend on how many it uses.
        cv2.setNumThreads(1)
        self._size = size
        self._threads = threading.local()  # a pipeline holds its random generator: one a thread

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (H, W, 3) and packed uint8 (H, W) -> the same shapes; equal seeds give equal results."""
        pipeline = getattr(self._threads, "pipeline", None)
        if pipeline is None:
            pipeline = self._threads.pipeline = _pipeline(self._size)
        pipeline.set_random_seed(seed)
        out = pipeline(image=image, mask=mask)
        return out["image"], out["mask"]


def _pipeline(size: tuple[int, int]) -> A.Compose:
    outside = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": NO_DATA}
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Affine(rotate=(-20, 20), scale=(0.9, 1.1), p=0.5, **outside),
            A.RandomResizedCrop(size=size, scale=(0.7, 1.0), ratio=(1.35, 1.65), p=0.3),
            A.GridDistortion(num_steps=5, distort_limit=0.2, p=0.1, **outside),
        ]
    )
