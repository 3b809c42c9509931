"""Connected pieces of predicted masks: their areas, and how much of each is right. All that a search needs to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from cloudseg.data.bitmask import unpack

CONNECTIVITY = 8
"""Pixels that touch at a corner belong together."""


@dataclasses.dataclass(frozen=True)
class Components:
    """The pieces of one class in some images, at one threshold."""

    image: np.ndarray
    """int32 (k,): in which image, not decreasing."""
    area: np.ndarray
    """int32 (k,): pixels; falling within an image."""
    hits: np.ndarray
    """int32 (k,): pixels that are in the truth too."""
    truth: np.ndarray
    """int64 (n,): pixels of the truth of each image."""
    peak: np.ndarray
    """uint8 (n,): the highest probability in each image, 255 for 1."""

    def of(self, images: np.ndarray) -> Components:
        """Those of some images (bool, n), which are numbered anew."""
        kept = images[self.image]
        numbers = np.cumsum(images) - 1
        image = numbers[self.image[kept]].astype(np.int32)
        return Components(image, self.area[kept], self.hits[kept], self.truth[images], self.peak[images])


def split(
    probability: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Areas (falling) and hits of the pieces of one image and class, at each threshold.

    probability uint8 (h, w), 255 for 1; truth bool (h, w). A pixel is predicted if its probability is above the
    threshold.
    """
    found = []
    inside = np.flatnonzero(truth)
    for threshold in thresholds:
        mask = (probability > level(threshold)).view(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=CONNECTIVITY, ltype=cv2.CV_32S)
        area = stats[1:, cv2.CC_STAT_AREA]
        hits = np.bincount(labels.reshape(-1)[inside], minlength=count)[1:]
        order = np.argsort(-area, kind="stable")
        found.append((area[order].astype(np.int32), hits[order].astype(np.int32)))
    return found


def collect(
    read: Callable[[int], tuple[np.ndarray, np.ndarray]], images: int, thresholds: Sequence[float], threads: int
) -> list[list[Components]]:
    """The pieces of every class at every threshold, in one pass over the images.

    `read` gives of image i the probabilities uint8 (C, h, w), 255 for 1, and the truth, uint8 bits (h, w).
    """

    def look(i: int) -> list[tuple[list[tuple[np.ndarray, np.ndarray]], int, int]]:
        probabilities, truth = read(i)
        return [
            (split(each, mask, thresholds), int(mask.sum()), int(each.max()))
            for each, mask in zip(probabilities, unpack(truth)[: len(probabilities)], strict=True)
        ]

    with ThreadPoolExecutor(threads) as pool:  # OpenCV lets go of the interpreter's lock
        found = list(pool.map(look, range(images)))
    out = []
    for of_class in zip(*found, strict=True):
        parts, truth, peak = zip(*of_class, strict=True)
        facts = np.array(truth, np.int64), np.array(peak, np.uint8)
        out.append([gather(at_threshold, *facts) for at_threshold in zip(*parts, strict=True)])
    return out


def gather(parts: Sequence[tuple[np.ndarray, np.ndarray]], truth: np.ndarray, peak: np.ndarray) -> Components:
    """The pieces of single images, in order, as one."""
    counts = [len(area) for area, _ in parts]
    return Components(
        np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        np.concatenate([np.empty(0, np.int32), *(area for area, _ in parts)]),
        np.concatenate([np.empty(0, np.int32), *(hits for _, hits in parts)]),
        truth,
        peak,
    )


def level(threshold: float) -> int:
    """A threshold on probabilities as one on uint8, of which 255 is 1."""
    return int(np.floor(threshold * 255))
