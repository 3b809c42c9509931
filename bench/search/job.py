"""Job of the contenders of the search benchmark: files with synthetic probabilities and ground truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from cloudseg.data.labels import CLASSES
from cloudseg.results.submission import SIZE

THRESHOLDS = (*(round(0.05 * i, 2) for i in range(1, 20)), 0.98)
"""Twenty thresholds."""
AREAS = tuple(range(0, 30000, 1500))
"""Twenty areas of the usual loop; cloudseg's search covers all areas."""


@dataclasses.dataclass(frozen=True)
class Job:
    folder: Path
    images: int
    """Number of images to use of those in the folder."""
    threads: int

    def probabilities(self) -> np.ndarray:
        """Probabilities, uint8 (n, C, h, w), memory-mapped."""
        return np.load(self.folder / "probabilities.npy", mmap_mode="r")

    def truths(self) -> np.ndarray:
        """Packed ground truth, uint8 (n, h, w), memory-mapped."""
        return np.load(self.folder / "truths.npy", mmap_mode="r")


def make(folder: Path, images: int) -> None:
    """Write ground truth of boxes like the competition's (up to three per class, half of the classes absent), and
    probabilities like a network's: blurred boxes with noise."""
    random = np.random.default_rng(0)
    shape = (images, *SIZE)
    probabilities = np.lib.format.open_memmap(
        folder / "probabilities.npy", "w+", np.uint8, (images, len(CLASSES), *SIZE)
    )
    truths = np.lib.format.open_memmap(folder / "truths.npy", "w+", np.uint8, shape)
    for i in range(images):
        for c in range(len(CLASSES)):
            truth = np.zeros(SIZE, np.float32)
            for _ in range(random.integers(0, 4) if random.random() < 0.5 else 0):
                y, x = random.integers(0, SIZE[0] - 80), random.integers(0, SIZE[1] - 120)
                truth[y : y + random.integers(80, 250), x : x + random.integers(120, 350)] = 1
            truths[i] |= truth.astype(np.uint8) << c
            noise = random.standard_normal((SIZE[0] // 10, SIZE[1] // 10)).astype(np.float32)
            clouds = cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
            probability = cv2.blur(truth, (41, 41)) * random.uniform(0.4, 0.9) + 0.12 + 0.12 * clouds
            probabilities[i, c] = np.clip(probability * 255, 0, 255)
