"""The threshold and the smallest area of a class that score best, over all areas there are. Pure.

As the smallest area grows, pieces drop out one after the other, and the Dice of their image makes a step at each. The
mean over images as a function of the area is therefore the sum of all steps, in order of area: one sort, for all areas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cloudseg.results.components import Pieces

EVERY_PIECE, IN_TOTAL = "piece", "total"
"""What must reach the smallest area: every piece for itself, or all pieces of the class in the image together."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean Dice over the images, for every smallest area at which it changes."""

    areas: np.ndarray
    """int64 (m,), rising from 0: each holds up to the next."""
    dice: np.ndarray
    """float64 (m,)."""


@dataclasses.dataclass(frozen=True)
class Choice:
    threshold: float
    min_area: int
    dice: float
    """On the images on which it was chosen."""


def curve(pieces: Pieces, rule: str = EVERY_PIECE) -> Curve:
    """Mean Dice of a class over its images as the smallest area grows."""
    images = len(pieces.truth)
    truth = pieces.truth.astype(np.float64)
    empty = (pieces.truth == 0).astype(np.float64)
    total = np.bincount(pieces.image, pieces.area, images)
    hits = np.bincount(pieces.image, pieces.hits, images)
    everything = np.where(total + truth > 0, 2 * hits / np.maximum(total + truth, 1), 1.0)
    if rule == IN_TOTAL:
        some = total > 0
        position, step = total[some].astype(np.int64) + 1, (empty - everything)[some]
    else:
        # Within an image areas fall: what is left when a piece drops out are those before it.
        area_before, hits_before = _before(pieces, pieces.area), _before(pieces, pieces.hits)
        own = truth[pieces.image]
        after = np.where(area_before > 0, 2 * hits_before / np.maximum(area_before + own, 1), empty[pieces.image])
        with_it = 2 * (hits_before + pieces.hits) / (area_before + pieces.area + own)
        position, step = pieces.area.astype(np.int64) + 1, after - with_it
    areas, where = np.unique(np.concatenate([[0], position]), return_inverse=True)
    steps = np.bincount(where, np.concatenate([[everything.sum()], step]), len(areas))
    return Curve(areas, np.cumsum(steps) / images)


def best(curves: Sequence[Curve], thresholds: Sequence[float]) -> Choice:
    """The pair with the highest mean Dice; of equals the threshold nearest to 0.5, then the smaller area."""
    candidates = []
    for threshold, each in zip(thresholds, curves, strict=True):
        dice = np.round(each.dice, 12)
        at = int(np.argmax(dice))
        candidates.append((-dice[at], abs(threshold - 0.5), threshold, int(each.areas[at])))
    worse, _, threshold, area = min(candidates)
    return Choice(threshold, area, -float(worse))


def dice(pieces: Pieces, min_area: int, rule: str = EVERY_PIECE) -> np.ndarray:
    """Dice of each image, float64 (n,), with what is smaller than `min_area` left out."""
    images = len(pieces.truth)
    if rule == IN_TOTAL:
        kept = np.bincount(pieces.image, pieces.area, images)[pieces.image] >= min_area
    else:
        kept = pieces.area >= min_area
    area = np.bincount(pieces.image[kept], pieces.area[kept], images)
    hits = np.bincount(pieces.image[kept], pieces.hits[kept], images)
    total = area + pieces.truth
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)


def _before(pieces: Pieces, values: np.ndarray) -> np.ndarray:
    """Sum of `values` over the larger pieces of the same image, float64 (k,)."""
    if not len(values):
        return np.empty(0)
    sums = np.cumsum(values, dtype=np.float64) - values
    first = np.searchsorted(pieces.image, pieces.image)
    return sums - sums[first]
