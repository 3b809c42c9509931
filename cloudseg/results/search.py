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


@dataclasses.dataclass(frozen=True)
class Steps:
    """Dice of each of n images as a step function of the minimum area."""

    unfiltered: np.ndarray
    """float64 (n,): Dice with all components."""
    empty: np.ndarray
    """float64 (n,): Dice of an empty mask."""
    area: np.ndarray
    """int64 (k,), ascending: area from which on a component is dropped, or all components of an image."""
    image: np.ndarray
    """int32 (k,): its image."""
    change: np.ndarray
    """float64 (k,): what that adds to the Dice of the image."""

    def curve(self, images: np.ndarray, kept: np.ndarray) -> Curve:
        """The curve of some of the images, of which those that are not `kept` have empty masks; both bool (n,)."""
        kept = images & kept
        chosen = kept[self.image]
        area, sums = self.area[chosen], np.cumsum(self.change[chosen])
        last = np.flatnonzero(np.append(area[1:] != area[:-1], True)[: len(area)])
        first = self.unfiltered[kept].sum() + self.empty[images & ~kept].sum()
        return Curve(np.append(0, area[last]), (first + np.append(0.0, sums[last])) / np.count_nonzero(images))


def steps(components: Components, area_of: str = EACH_COMPONENT) -> Steps:
    """Dice of each image of a class as a function of the minimum area."""
    images = len(components.truth)
    truth = components.truth.astype(np.float64)
    empty = (components.truth == 0).astype(np.float64)
    total = np.bincount(components.image, components.area, images)
    hits = np.bincount(components.image, components.hits, images)
    unfiltered = np.where(total + truth > 0, 2 * hits / np.maximum(total + truth, 1), 1.0)
    if area_of == IN_TOTAL:
        image = np.flatnonzero(total > 0)
        area, change = total[image].astype(np.int64) + 1, (empty - unfiltered)[image]
    else:
        # Areas descend within an image: when a component is dropped, the components before it remain.
        image = components.image
        area_left, hits_left = _sum_of_larger(components, components.area), _sum_of_larger(components, components.hits)
        without_it = np.where(area_left > 0, 2 * hits_left / np.maximum(area_left + truth[image], 1), empty[image])
        with_it = 2 * (hits_left + components.hits) / (area_left + components.area + truth[image])
        area, change = components.area.astype(np.int64) + 1, without_it - with_it
    order = np.argsort(area, kind="stable")
    return Steps(unfiltered, empty, area[order], image[order].astype(np.int32), change[order])


def curve(components: Components, area_of: str = EACH_COMPONENT, min_peak: float = 0.0) -> Curve:
    """Mean Dice of a class over its images for every minimum area."""
    every = np.ones(len(components.truth), bool)
    return steps(components, area_of).curve(every, _above(components, min_peak))


def best(at_thresholds: Sequence[Components], thresholds: Sequence[float]) -> tuple[Rule, float]:
    """Return the rule with the highest mean Dice over all images, and that Dice; see `best_of_each`."""
    return best_of_each(at_thresholds, thresholds, [np.ones(len(at_thresholds[0].truth), bool)])[0]


def best_of_each(
    at_thresholds: Sequence[Components], thresholds: Sequence[float], subsets: Sequence[np.ndarray]
) -> list[tuple[Rule, float]]:
    """Return, for each subset of the images, bool (n,), the rule with the highest mean Dice, and that Dice.

    Of equally good rules it is the one with the lowest `min_peak`, then the threshold nearest to 0.5, then the smaller
    area. The area is the middle of the interval with the same Dice, as it suits other images best.
    """
    candidates: list[list[tuple[float, float, float, float, int, str]]] = [[] for _ in subsets]
    for threshold, components in zip(thresholds, at_thresholds, strict=True):
        gates = {peak: _above(components, peak) for peak in MIN_PEAKS if not peak or peak > threshold}
        for area_of in (EACH_COMPONENT, IN_TOTAL):
            by_image = steps(components, area_of)
            for found, images in zip(candidates, subsets, strict=True):
                for min_peak, kept in gates.items():
                    dice, area = _maximum(by_image.curve(images, kept))
                    found.append((-dice, min_peak, abs(threshold - 0.5), threshold, area, area_of))
    return [_rule(min(found)) for found in candidates]


def _rule(candidate: tuple[float, float, float, float, int, str]) -> tuple[Rule, float]:
    negative_dice, min_peak, _, threshold, area, area_of = candidate
    return Rule(threshold, min_peak, area, area_of), -negative_dice


def _maximum(curve: Curve) -> tuple[float, int]:
    """The highest Dice of a curve, to 12 digits, and the middle of the first interval of areas with that Dice."""
    dice = np.round(curve.dice, 12)
    at = int(np.argmax(dice))
    area = int(curve.areas[at])
    if area and at + 1 < len(curve.areas):
        area = (area + int(curve.areas[at + 1])) // 2
    return float(dice[at]), area


def _above(components: Components, min_peak: float) -> np.ndarray:
    """Images whose peak is above `min_peak`, or all if it is 0: bool (n,)."""
    return components.peak > level(min_peak) if min_peak else np.ones(len(components.peak), bool)


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
