"""Connected pieces of predicted masks: their areas, and how much of each is right. All that a search needs to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

CONNECTIVITY = 8
"""Pixels that touch at a corner belong together."""


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The pieces of one class in some images, at one threshold."""

    image: np.ndarray
    """int32 (k,): in which image, not decreasing."""
    area: np.ndarray
    """int32 (k,): pixels; falling within an image."""
    hits: np.ndarray
    """int32 (k,): pixels that are in the truth too."""
    truth: np.ndarray
    """int64 (n,): pixels of the truth of each image."""

    def of(self, images: np.ndarray) -> Pieces:
        """Those of some images (bool, n), which are numbered anew."""
        kept = images[self.image]
        numbers = np.cumsum(images) - 1
        return Pieces(numbers[self.image[kept]].astype(np.int32), self.area[kept], self.hits[kept], self.truth[images])


def split(
    probability: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Areas (falling) and hits of the pieces of one image and class, at each threshold.

    probability uint8 (h, w), 255 for 1; truth bool (h, w). A pixel is predicted if its probability is above the
    threshold.
    """
    found = []
    inside = np.flatnonzero(truth)
    for limit in levels(thresholds):
        mask = (probability > limit).view(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=CONNECTIVITY, ltype=cv2.CV_32S)
        area = stats[1:, cv2.CC_STAT_AREA]
        hits = np.bincount(labels.reshape(-1)[inside], minlength=count)[1:]
        order = np.argsort(-area, kind="stable")
        found.append((area[order].astype(np.int32), hits[order].astype(np.int32)))
    return found


def gather(parts: Sequence[tuple[np.ndarray, np.ndarray]], truth: np.ndarray) -> Pieces:
    """The pieces of single images, in order, as one."""
    counts = [len(area) for area, _ in parts]
    return Pieces(
        np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        np.concatenate([np.empty(0, np.int32), *(area for area, _ in parts)]),
        np.concatenate([np.empty(0, np.int32), *(hits for _, hits in parts)]),
        truth,
    )


def levels(thresholds: Sequence[float]) -> list[int]:
    """Thresholds on probabilities as limits on uint8, of which 255 is 1."""
    return [int(np.floor(threshold * 255)) for threshold in thresholds]
