"""Random augmentation of training samples; the result depends only on the sample and its seed."""

from __future__ import annotations

import os
import threading

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2

from cloudseg.data.labels import NO_DATA


class Augmenter:
    """Augments images and masks with one of batches.PRESETS. Pickles as its settings.

    Pixels from outside the image become no-data pixels, which losses ignore.
    """

    def __init__(self, size: tuple[int, int], preset: str = "standard") -> None:
        # Samples are already made in several threads, and OpenCV's results may depend on its number of threads.
        cv2.setNumThreads(1)
        self._size, self._preset = size, preset
        self._threads = threading.local()  # one pipeline per thread, as it holds a random generator

    def __reduce__(self) -> tuple[type[Augmenter], tuple[tuple[int, int], str]]:
        return Augmenter, (self._size, self._preset)

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Augment an image, uint8 (H, W, 3), and a packed mask, uint8 (H, W). Equal seeds give equal results."""
        pipeline = getattr(self._threads, "pipeline", None)
        if pipeline is None:
            pipeline = self._threads.pipeline = A.Compose(transforms(self._preset, self._size))
        pipeline.set_random_seed(seed)
        out = pipeline(image=image, mask=mask)
        return out["image"], out["mask"]


def transforms(preset: str, size: tuple[int, int]) -> list[A.BasicTransform]:
    """Transforms of a preset for images of `size` (height, width)."""
    outside = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": NO_DATA}
    if preset == "none":
        return []
    flips = [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]
    if preset == "flips":
        return flips
    strong = preset == "strong"
    distortions = [
        A.GridDistortion(num_steps=5, distort_limit=0.2, **outside),
        A.OpticalDistortion(distort_limit=0.3, **outside),
        A.ElasticTransform(alpha=60, sigma=12, approximate=True, **outside),
    ]
    steps = [
        *flips,
        A.Affine(rotate=(-20, 20), scale=(0.9, 1.1), p=0.5, **outside),
        A.RandomResizedCrop(size=size, scale=(0.5 if strong else 0.7, 1.0), ratio=(1.35, 1.65), p=0.3),
        A.OneOf(distortions, p=0.3 if strong else 0.1),
    ]
    return [*steps, A.RandomBrightnessContrast(0.1, 0.1, p=0.5)] if strong else steps
