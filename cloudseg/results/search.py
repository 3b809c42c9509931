"""Searches the rule of a class with the highest mean Dice, over all minimum areas. Pure.

As the minimum area grows, components are dropped one by one, and the Dice of their image changes by a step at each. The
mean over images as a function of the area is the sum of all steps in order of area, so one sort gives it for all areas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cloudseg.results.components import Components, level
from cloudseg.results.postprocess import EACH_COMPONENT, IN_TOTAL, Rule

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Candidates of `Rule.threshold`."""
MIN_PEAKS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Candidates of `Rule.min_peak`."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean Dice over the images as a step function of the minimum area."""

    areas: np.ndarray
    """int64 (m,), ascending from 0: the areas at which the Dice changes."""
    dice: np.ndarray
    """float64 (m,): mean Dice from each area up to the next."""


def curve(components: Components, area_of: str = EACH_COMPONENT, min_peak: float = 0.0) -> Curve:
    """Mean Dice of a class over its images for every minimum area."""
    if min_peak:
        kept = components.peak > level(min_peak)
        dice_of_others = float((components.truth[~kept] == 0).sum())
        if not kept.any():
            return Curve(np.zeros(1, np.int64), np.array([dice_of_others / len(kept)]))
        of_kept = curve(components.of(kept), area_of)
        return Curve(of_kept.areas, (of_kept.dice * kept.sum() + dice_of_others) / len(kept))
    images = len(components.truth)
    truth = components.truth.astype(np.float64)
    empty = (components.truth == 0).astype(np.float64)
    total = np.bincount(components.image, components.area, images)
    hits = np.bincount(components.image, components.hits, images)
    unfiltered = np.where(total + truth > 0, 2 * hits / np.maximum(total + truth, 1), 1.0)
    if area_of == IN_TOTAL:
        some = total > 0
        position, step = total[some].astype(np.int64) + 1, (empty - unfiltered)[some]
    else:
        # Areas descend within an image: when a component is dropped, the components before it remain.
        area_left, hits_left = _sum_of_larger(components, components.area), _sum_of_larger(components, components.hits)
        image_truth = truth[components.image]
        without_it = np.where(
            area_left > 0, 2 * hits_left / np.maximum(area_left + image_truth, 1), empty[components.image]
        )
        with_it = 2 * (hits_left + components.hits) / (area_left + components.area + image_truth)
        position, step = components.area.astype(np.int64) + 1, without_it - with_it
    areas, where = np.unique(np.concatenate([[0], position]), return_inverse=True)
    steps = np.bincount(where, np.concatenate([[unfiltered.sum()], step]), len(areas))
    return Curve(areas, np.cumsum(steps) / images)


def best(at_thresholds: Sequence[Components], thresholds: Sequence[float]) -> tuple[Rule, float]:
    """Return the rule with the highest mean Dice, and that Dice.

    Of equally good rules it is the one with the lowest `min_peak`, then the threshold nearest to 0.5, then the smaller
    area. The area is the middle of the interval with the same Dice, as it suits other images best.
    """
    candidates = []
    for threshold, components in zip(thresholds, at_thresholds, strict=True):
        for area_of in (EACH_COMPONENT, IN_TOTAL):
            for min_peak in MIN_PEAKS:
                if min_peak and min_peak <= threshold:
                    continue
                by_area = curve(components, area_of, min_peak)
                dice = np.round(by_area.dice, 12)
                at = int(np.argmax(dice))
                area = int(by_area.areas[at])
                if area and at + 1 < len(by_area.areas):
                    area = (area + int(by_area.areas[at + 1])) // 2
                candidates.append((-float(dice[at]), min_peak, abs(threshold - 0.5), threshold, area, area_of))
    negative_dice, min_peak, _, threshold, area, area_of = min(candidates)
    return Rule(threshold, min_peak, area, area_of), -negative_dice


def dice(components: Components, rule: Rule) -> np.ndarray:
    """Dice of each image with a rule without a shape, float64 (n,); `components` are those at the rule's threshold."""
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


def _sum_of_larger(components: Components, values: np.ndarray) -> np.ndarray:
    """Sum of `values`, (k,), over the larger components of the same image, float64 (k,)."""
    if not len(values):
        return np.empty(0)
    sums = np.cumsum(values, dtype=np.float64) - values
    first = np.searchsorted(components.image, components.image)
    return sums - sums[first]
