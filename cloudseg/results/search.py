"""The rule of a class that scores best, over all smallest areas there are. Pure.

As the smallest area grows, pieces drop out one after the other, and the Dice of their image makes a step at each. The
mean over images as a function of the area is therefore the sum of all steps, in order of area: one sort, for all areas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cloudseg.results.components import Components, level
from cloudseg.results.postprocess import EACH_COMPONENT, IN_TOTAL, Rule

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Candidates for the probability above which a pixel is in the mask."""
MIN_PEAKS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Candidates for the probability that a pixel must have if there is to be a mask at all."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean Dice over the images, for every smallest area at which it changes."""

    areas: np.ndarray
    """int64 (m,), rising from 0: each holds up to the next."""
    dice: np.ndarray
    """float64 (m,)."""


def curve(components: Components, area_of: str = EACH_COMPONENT, min_peak: float = 0.0) -> Curve:
    """Mean Dice of a class over its images as the smallest area grows."""
    if min_peak:
        kept = components.peak > level(min_peak)
        left_out = float((components.truth[~kept] == 0).sum())
        if not kept.any():
            return Curve(np.zeros(1, np.int64), np.array([left_out / len(kept)]))
        found = curve(components.of(kept), area_of)
        return Curve(found.areas, (found.dice * kept.sum() + left_out) / len(kept))
    images = len(components.truth)
    truth = components.truth.astype(np.float64)
    empty = (components.truth == 0).astype(np.float64)
    total = np.bincount(components.image, components.area, images)
    hits = np.bincount(components.image, components.hits, images)
    everything = np.where(total + truth > 0, 2 * hits / np.maximum(total + truth, 1), 1.0)
    if area_of == IN_TOTAL:
        some = total > 0
        position, step = total[some].astype(np.int64) + 1, (empty - everything)[some]
    else:
        # Within an image areas fall: what is left when a piece drops out are those before it.
        area_before, hits_before = _before(components, components.area), _before(components, components.hits)
        own = truth[components.image]
        after = np.where(area_before > 0, 2 * hits_before / np.maximum(area_before + own, 1), empty[components.image])
        with_it = 2 * (hits_before + components.hits) / (area_before + components.area + own)
        position, step = components.area.astype(np.int64) + 1, after - with_it
    areas, where = np.unique(np.concatenate([[0], position]), return_inverse=True)
    steps = np.bincount(where, np.concatenate([[everything.sum()], step]), len(areas))
    return Curve(areas, np.cumsum(steps) / images)


def best(at_thresholds: Sequence[Components], thresholds: Sequence[float]) -> tuple[Rule, float]:
    """The rule with the highest mean Dice, and that; of equals the plainest: without `sure`, the threshold nearest to
    0.5, the smaller area.

    The area is the middle of those that score the same, as images that were not searched differ a little.
    """
    candidates = []
    for threshold, components in zip(thresholds, at_thresholds, strict=True):
        for area_of in (EACH_COMPONENT, IN_TOTAL):
            for min_peak in MIN_PEAKS:
                if min_peak and min_peak <= threshold:
                    continue
                found = curve(components, area_of, min_peak)
                dice = np.round(found.dice, 12)
                at = int(np.argmax(dice))
                area = int(found.areas[at])
                if area and at + 1 < len(found.areas):
                    area = (area + int(found.areas[at + 1])) // 2
                candidates.append((-float(dice[at]), min_peak, abs(threshold - 0.5), threshold, area, area_of))
    worse, min_peak, _, threshold, area, area_of = min(candidates)
    return Rule(threshold, min_peak, area, area_of), -worse


def dice(components: Components, rule: Rule) -> np.ndarray:
    """Dice of each image under a rule without a shape, float64 (n,); `pieces` are those at its threshold."""
    images = len(components.truth)
    if rule.area_of == IN_TOTAL:
        kept = np.bincount(components.image, components.area, images)[components.image] >= rule.min_area
    else:
        kept = components.area >= rule.min_area
    if rule.min_peak:
        kept &= (components.peak > level(rule.min_peak))[components.image]
    area = np.bincount(components.image[kept], components.area[kept], images)
    hits = np.bincount(components.image[kept], components.hits[kept], images)
    total = area + components.truth
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)


def _before(components: Components, values: np.ndarray) -> np.ndarray:
    """Sum of `values` over the larger pieces of the same image, float64 (k,)."""
    if not len(values):
        return np.empty(0)
    sums = np.cumsum(values, dtype=np.float64) - values
    first = np.searchsorted(components.image, components.image)
    return sums - sums[first]
