"""Searches the rule of a class with the highest mean Dice, over all minimum areas. Pure.

As the minimum area grows, components are dropped one by one, and the Dice of their image changes by a step at each. The
mean over images as a function of the area is the sum of all steps in order of area, so one sort gives it for all areas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from cloudseg.results import expected_dice
from cloudseg.results.components import Components, level
from cloudseg.results.postprocess import EACH_COMPONENT, EXPECTED_DICE, HEAD, IN_TOTAL, LIMITS, PEAK, Rule

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Candidates of `Rule.threshold`."""
MIN_PEAKS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Candidates of `Rule.min_peak`, beside 0."""
MIN_PRESENCES = tuple(round(0.1 * i, 1) for i in range(1, 10))
"""Candidates of `Rule.min_presence`, beside 0."""


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


def steps(components: Components, area_of: str = EACH_COMPONENT, chance: np.ndarray | None = None) -> Steps:
    """Dice of each image of a class as a function of the minimum area.

    With `chance`, float64 (n,), the probability that the class is in each image, masks are empty unless
    `expected_dice.is_better`.
    """
    images, truth = len(components.truth), components.truth.astype(np.float64)
    empty = (components.truth == 0).astype(np.float64)

    def dice(image: np.ndarray, area: np.ndarray, hits: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Dice of masks of `area` pixels."""
        total = area + truth[image]
        found = np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)
        if chance is None:
            return found
        image_mass = components.image_mass[image] / 255
        return np.where(expected_dice.is_better(chance[image], mass / 255, image_mass, area), found, empty[image])

    values = components.area, components.hits, components.mass
    unfiltered = dice(np.arange(images), *(np.bincount(components.image, each, images) for each in values))
    if area_of == IN_TOTAL:
        total = np.bincount(components.image, components.area, images)
        image = np.flatnonzero(total > 0)
        area, change = total[image].astype(np.int64) + 1, (empty - unfiltered)[image]
    else:
        # Areas descend within an image: when a component is dropped, the components before it remain.
        image = components.image
        left = [_sum_of_larger(components, each) for each in values]
        with_it = [before + each for before, each in zip(left, values, strict=True)]
        area, change = components.area.astype(np.int64) + 1, dice(image, *left) - dice(image, *with_it)
    order = np.argsort(area, kind="stable")
    return Steps(unfiltered, empty, area[order], image[order].astype(np.int32), change[order])


def curve(components: Components, rule: Rule) -> Curve:
    """Mean Dice of a class over its images for every minimum area, with the other fields of `rule` but `shape`;
    `components` are those at its threshold."""
    chance = _chance(components, rule) if rule.decide == EXPECTED_DICE else None
    every = np.ones(len(components.truth), bool)
    return steps(components, rule.area_of, chance).curve(every, _within_limits(components, rule))


def best(at_thresholds: Sequence[Components], thresholds: Sequence[float]) -> tuple[Rule, float]:
    """Return the rule with the highest mean Dice over all images, and that Dice; see `best_of_each`."""
    return best_of_each(at_thresholds, thresholds, [np.ones(len(at_thresholds[0].truth), bool)])[0]


def best_of_each(
    at_thresholds: Sequence[Components], thresholds: Sequence[float], subsets: Sequence[np.ndarray]
) -> list[tuple[Rule, float]]:
    """Return, for each subset of the images, bool (n,), the rule with the highest mean Dice, and that Dice.

    A rule has at most one of `min_peak`, `min_presence` and the expected Dice. Of equally good rules it is one without
    the expected Dice, then the one with the lowest limits, then the threshold nearest to 0.5, then the smaller area.
    The area is the middle of the interval with the same Dice, as it suits other images best.
    """
    first = at_thresholds[0]
    limits = [(rule, _within_limits(first, rule)) for rule in _limits(first)]
    expected = [[(rule, _chance(first, rule)) for rule in _calibrated(first, images)] for images in subsets]
    every = np.ones(len(first.truth), bool)
    candidates: list[list[tuple[Any, ...]]] = [[] for _ in subsets]
    for threshold, components in zip(thresholds, at_thresholds, strict=True):
        for area_of in (EACH_COMPONENT, IN_TOTAL):
            plain = steps(components, area_of)
            for found, images, calibrated in zip(candidates, subsets, expected, strict=True):
                curves = [
                    (rule, plain.curve(images, kept))
                    for rule, kept in limits
                    if not rule.min_peak or rule.min_peak > threshold
                ]
                curves += [
                    (rule, steps(components, area_of, chance).curve(images, every)) for rule, chance in calibrated
                ]
                found += [
                    _candidate(by_area, dataclasses.replace(rule, threshold=threshold, area_of=area_of))
                    for rule, by_area in curves
                ]
    chosen = [min(found, key=lambda candidate: candidate[:-1]) for found in candidates]
    return [(rule, -negative_dice) for negative_dice, *_, rule in chosen]


def _candidate(curve: Curve, rule: Rule) -> tuple[Any, ...]:
    """A tuple, smaller for a better rule: the highest Dice of `curve`, to 12 digits, negative; what orders equally good
    rules; and `rule` with the middle of the first interval of areas that have that Dice."""
    dice = np.round(curve.dice, 12)
    at = int(np.argmax(dice))
    area = int(curve.areas[at])
    if area and at + 1 < len(curve.areas):
        area = (area + int(curve.areas[at + 1])) // 2
    order = (
        rule.decide != LIMITS, rule.min_presence, rule.min_peak, abs(rule.threshold - 0.5), rule.threshold, area,
        rule.area_of, rule.evidence,
    )  # fmt: skip
    return -float(dice[at]), *order, dataclasses.replace(rule, min_area=area)


def _limits(components: Components) -> list[Rule]:
    """Rules with at most one limit on peak or presence."""
    presences = MIN_PRESENCES if components.presence is not None else ()
    return [Rule(), *(Rule(min_peak=peak) for peak in MIN_PEAKS), *(Rule(min_presence=limit) for limit in presences)]


def _within_limits(components: Components, rule: Rule) -> np.ndarray:
    """Images above the rule's limits on peak and presence: bool (n,)."""
    above = np.ones(len(components.peak), bool)
    if rule.min_peak:
        above &= components.peak > level(rule.min_peak)
    if rule.min_presence:
        above &= _evidence(components, HEAD) > rule.min_presence
    return above


def _calibrated(components: Components, images: np.ndarray) -> list[Rule]:
    """Rules by expected Dice, one for each kind of evidence, calibrated on `images`, bool (n,)."""
    present = components.truth[images] > 0
    rules = []
    for name in (PEAK,) if components.presence is None else (PEAK, HEAD):
        slope, intercept = expected_dice.fit(_evidence(components, name)[images], present)
        rules.append(Rule(decide=EXPECTED_DICE, evidence=name, slope=slope, intercept=intercept))
    return rules


def _chance(components: Components, rule: Rule) -> np.ndarray:
    """Probability that the class is in each image by a rule by expected Dice, float64 (n,)."""
    return expected_dice.presence(_evidence(components, rule.evidence), rule.slope, rule.intercept)


def _evidence(components: Components, name: str) -> np.ndarray:
    """PEAK or HEAD of each image, float64 (n,), 0 to 1. Raises ValueError for HEAD without a presence head."""
    if name == PEAK:
        return components.peak / 255
    if components.presence is None:
        raise ValueError("the rule needs the probability of a presence head")
    return components.presence


def _sum_of_larger(components: Components, values: np.ndarray) -> np.ndarray:
    """Sum of `values`, (k,), over the larger components of the same image, float64 (k,)."""
    if not len(values):
        return np.empty(0)
    sums = np.cumsum(values, dtype=np.float64) - values
    first = np.searchsorted(components.image, components.image)
    return sums - sums[first]
