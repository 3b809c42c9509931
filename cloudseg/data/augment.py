"""Random augmentation of training samples; the result depends only on the sample and its seed."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2

from cloudseg.data.batches import ALSO
from cloudseg.data.labels import NO_DATA


class Augmenter:
    """Augments images and masks with one of batches.PRESETS and some of batches.ALSO. Pickles as its settings.

    `size` is that of stored images (height, width); with `crop`, results are random crops of that size. Of `also`,
    `batches.fill` does cutmix, with rectangles of the samples `partners`, int (n,). Pixels from outside the image
    become no-data pixels, which losses ignore.
    """

    def __init__(
        self,
        size: tuple[int, int],
        preset: str = "standard",
        also: Sequence[str] = (),
        crop: tuple[int, int] | None = None,
        partners: np.ndarray | None = None,
    ) -> None:
        # Samples are already made in several threads, and OpenCV's results may depend on its number of threads.
        cv2.setNumThreads(1)
        self._stored, self._preset, self._also, self._crop = size, preset, tuple(also), crop
        self.size = crop or size
        self.partners = partners if "cutmix" in also else None
        self._threads = threading.local()  # one pipeline per thread, as it holds a random generator

    def __reduce__(self) -> tuple[type[Augmenter], tuple[object, ...]]:
        return Augmenter, (self._stored, self._preset, self._also, self._crop, self.partners)

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Augment an image, uint8 (H, W, 3), and a packed mask, uint8 (H, W). Equal seeds give equal results."""
        pipeline = getattr(self._threads, "pipeline", None)
        if pipeline is None:
            steps = transforms(self._preset, self._stored, self._also, self._crop)
            pipeline = self._threads.pipeline = A.Compose(steps)
        pipeline.set_random_seed(seed)
        out = pipeline(image=image, mask=mask)
        return out["image"], out["mask"]


def transforms(
    preset: str, size: tuple[int, int], also: Sequence[str] = (), crop: tuple[int, int] | None = None
) -> list[A.BasicTransform]:
    """Transforms for images of `size` (height, width): geometric ones, crops of size `crop`, then those of values."""
    contrast = [A.RandomBrightnessContrast(0.1, 0.1, p=0.5)] if preset == "strong" else []
    added = _added()
    return [
        *_geometric(preset, size),
        *([A.RandomCrop(*crop)] if crop else []),
        *contrast,
        *(added[name] for name in ALSO if name in also and name in added),
    ]


def _added() -> dict[str, A.BasicTransform]:
    """The transforms of batches.ALSO that change one sample, by name."""
    return {
        "coarse_dropout": A.CoarseDropout(
            num_holes_range=(1, 4), hole_height_range=(0.1, 0.2), hole_width_range=(0.1, 0.2),
            fill=0, fill_mask=NO_DATA, p=0.5,
        ),
        "channel_shuffle": A.ChannelShuffle(p=0.2),
        "grey": A.ToGray(p=0.2),
    }  # fmt: skip


def _geometric(preset: str, size: tuple[int, int]) -> list[A.BasicTransform]:
    """Transforms of a preset that move pixels, for images of `size` (height, width)."""
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
    return [
        *flips,
        A.Affine(rotate=(-20, 20), scale=(0.9, 1.1), p=0.5, **outside),
        A.RandomResizedCrop(size=size, scale=(0.5 if strong else 0.7, 1.0), ratio=(1.35, 1.65), p=0.3),
        A.OneOf(distortions, p=0.3 if strong else 0.1),
    ]
