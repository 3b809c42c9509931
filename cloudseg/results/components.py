"""Connected components of predicted masks: their areas and their overlap with the ground truth, for the rule search."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from cloudseg.data.bitmask import unpack

CONNECTIVITY = 8
"""Pixels that touch at a corner are connected."""


@dataclasses.dataclass(frozen=True)
class Components:
    """The k components of one class in n images, at one threshold."""

    image: np.ndarray
    """int32 (k,): index of the component's image, ascending."""
    area: np.ndarray
    """int32 (k,): pixels, descending within an image."""
    hits: np.ndarray
    """int32 (k,): pixels that are in the ground truth too."""
    truth: np.ndarray
    """int64 (n,): pixels of the ground truth of each image."""
    peak: np.ndarray
    """uint8 (n,): highest probability of each image, 255 for 1."""

    def of(self, images: np.ndarray) -> Components:
        """The components of the images selected by `images`, bool (n,). Image indices are renumbered."""
        kept = images[self.image]
        numbers = np.cumsum(images) - 1
        image = numbers[self.image[kept]].astype(np.int32)
        return Components(image, self.area[kept], self.hits[kept], self.truth[images], self.peak[images])


def split(
    probability: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Areas, descending, and hits of the components of one image and class, for each threshold.

    probability uint8 (h, w), 255 for 1; truth bool (h, w). A pixel is predicted if its probability is above the
    threshold.
    """
    out = []
    inside = np.flatnonzero(truth)
    for threshold in thresholds:
        mask = (probability > level(threshold)).view(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=CONNECTIVITY, ltype=cv2.CV_32S)
        area = stats[1:, cv2.CC_STAT_AREA]
        hits = np.bincount(labels.reshape(-1)[inside], minlength=count)[1:]
        order = np.argsort(-area, kind="stable")
        out.append((area[order].astype(np.int32), hits[order].astype(np.int32)))
    return out


def collect(
    read: Callable[[int], tuple[np.ndarray, np.ndarray]], images: int, thresholds: Sequence[float], threads: int
) -> list[list[Components]]:
    """Components of every class at every threshold, in one pass over the images: a list (C, thresholds).

    `read` returns for image i the probabilities, uint8 (C, h, w), 255 for 1, and the packed ground truth, uint8 (h, w).
    """

    def split_image(i: int) -> list[tuple[list[tuple[np.ndarray, np.ndarray]], int, int]]:
        probabilities, truth = read(i)
        return [
            (split(each, mask, thresholds), int(mask.sum()), int(each.max()))
            for each, mask in zip(probabilities, unpack(truth)[: len(probabilities)], strict=True)
        ]

    with ThreadPoolExecutor(threads) as pool:  # OpenCV releases the interpreter lock
        per_image = list(pool.map(split_image, range(images)))
    out = []
    for of_class in zip(*per_image, strict=True):
        parts, truth, peak = zip(*of_class, strict=True)
        per_class = np.array(truth, np.int64), np.array(peak, np.uint8)
        out.append([join(at_threshold, *per_class) for at_threshold in zip(*parts, strict=True)])
    return out


def join(parts: Sequence[tuple[np.ndarray, np.ndarray]], truth: np.ndarray, peak: np.ndarray) -> Components:
    """Join the results of `split` of several images, at one threshold."""
    counts = [len(area) for area, _ in parts]
    return Components(
        np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        np.concatenate([np.empty(0, np.int32), *(area for area, _ in parts)]),
        np.concatenate([np.empty(0, np.int32), *(hits for _, hits in parts)]),
        truth,
        peak,
    )


def level(threshold: float) -> int:
    """Convert a threshold on probabilities, 0 to 1, to one on uint8 with 255 for 1."""
    return int(np.floor(threshold * 255))
