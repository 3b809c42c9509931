"""The search for threshold and smallest area against trying every pair, one after the other."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from cloudseg.results import components, postprocess, search
from cloudseg.results.postprocess import EACH_COMPONENT, IN_TOTAL, Rule

THRESHOLDS = (0.3, 0.5, 0.7)


def images(seed: int, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Blobs with noise as probabilities uint8 (n, h, w), and truths bool; some of either are empty."""
    random = np.random.default_rng(seed)
    probability = np.zeros((n, 40, 60), np.uint8)
    truth = np.zeros((n, 40, 60), bool)
    for i in range(n):
        noise = cv2.GaussianBlur(random.random((40, 60)), (0, 0), 2)
        if random.random() < 0.7:
            y, x = random.integers(0, 30), random.integers(0, 40)
            truth[i, y : y + 12, x : x + 20] = True
            noise[y + 2 : y + 12, x + 1 : x + 21] += random.random() * 0.4
        probability[i] = np.clip(noise * 255, 0, 255)
    return probability, truth


def by_threshold(
    probability: np.ndarray, truth: np.ndarray, presence: np.ndarray | None = None
) -> list[components.Components]:
    chances = None if presence is None else presence[:, None]
    (found,) = components.collect(
        lambda i: (probability[i][None], truth[i].view(np.uint8)), len(truth), THRESHOLDS, 2, chances
    )
    return found


def brute_force(
    probability: np.ndarray, truth: np.ndarray, threshold: float, area: int, area_of: str, min_peak: float = 0.0
) -> float:
    """The usual loop over images: threshold, label, drop, score."""
    scores = []
    for p, t in zip(probability, truth, strict=True):
        mask = (p > int(threshold * 255)) & (min_peak == 0 or p.max() > int(min_peak * 255))
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        for label in range(1, count):
            size = mask.sum() if area_of == IN_TOTAL else (labels == label).sum()
            if size < area:
                labels[labels == label] = 0
        predicted = labels > 0
        total = predicted.sum() + t.sum()
        scores.append(2 * (predicted & t).sum() / total if total else 1.0)
    return float(np.mean(scores))


def by_masks(probability: np.ndarray, truth: np.ndarray, rule: Rule, presence: np.ndarray | None = None) -> float:
    """Mean Dice of the masks that `rule` cuts."""
    chances = [None] * len(probability) if presence is None else presence
    masks = np.stack([postprocess.mask(each, rule, chance) for each, chance in zip(probability, chances, strict=True)])
    total, both = (masks.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))).astype(float), (masks & truth).sum(axis=(1, 2))
    return float(np.divide(2 * both, total, out=np.ones(len(total)), where=total > 0).mean())


@pytest.mark.parametrize("min_peak", [0.0, 0.75])
@pytest.mark.parametrize("area_of", [EACH_COMPONENT, IN_TOTAL])
@pytest.mark.parametrize("seed", range(2))
def test_every_rule_scores_as_it_does_when_tried(seed, area_of, min_peak):
    probability, truth = images(seed)
    for threshold, found in zip(THRESHOLDS, by_threshold(probability, truth), strict=True):
        curve = search.curve(found, Rule(threshold, min_peak, area_of=area_of))
        for area in (0, 1, 2, 5, 10, 50, 100, 200, 300, 1000):
            expected = brute_force(probability, truth, threshold, area, area_of, min_peak)
            at = np.searchsorted(curve.areas, area, side="right") - 1
            assert curve.dice[at] == pytest.approx(expected, abs=1e-12)
            rule = Rule(threshold, min_peak, area, area_of)
            assert by_masks(probability, truth, rule) == pytest.approx(expected, abs=1e-12)


def test_no_other_rule_is_better():
    probability, truth = images(7)
    rule, dice = search.best(by_threshold(probability, truth), THRESHOLDS)
    tried = max(
        brute_force(probability, truth, threshold, area, area_of, min_peak)
        for threshold in THRESHOLDS
        for min_peak in (0, *search.MIN_PEAKS)
        if min_peak == 0 or min_peak > threshold
        for area_of in (EACH_COMPONENT, IN_TOTAL)
        for area in range(0, 400, 25)
    )
    assert dice >= tried - 1e-12
    assert by_masks(probability, truth, rule) == pytest.approx(dice)


def test_of_rules_that_score_the_same_the_plainest_is_taken():
    nothing = np.zeros((3, 8, 8), np.uint8)
    assert search.best(by_threshold(nothing, nothing > 0), THRESHOLDS) == (Rule(), 1.0)


def test_some_images_of_all_get_the_rule_that_they_get_alone():
    probability, truth = images(3)
    half = np.arange(len(truth)) % 2 == 0
    found = search.best_of_each(by_threshold(probability, truth), THRESHOLDS, [half, ~half])
    for subset, (rule, dice) in zip((half, ~half), found, strict=True):
        alone = search.best(by_threshold(probability[subset], truth[subset]), THRESHOLDS)
        assert (rule, dice) == (alone[0], pytest.approx(alone[1]))


RULES = (
    Rule(decide="expected_dice", slope=4.0, intercept=-2.0),
    Rule(decide="expected_dice", slope=1.5, intercept=0.5, evidence="head"),
    Rule(min_presence=0.4),
    Rule(min_presence=0.6, min_peak=0.75),
)


@pytest.mark.parametrize("rule", RULES, ids=["peak", "head", "presence", "presence and peak"])
@pytest.mark.parametrize("area_of", [EACH_COMPONENT, IN_TOTAL])
@pytest.mark.parametrize("seed", range(2))
def test_every_rule_that_decides_by_image_scores_as_its_masks_do(seed, area_of, rule):
    probability, truth = images(seed)
    presence = np.random.default_rng(seed).random(len(truth)).astype(np.float32)
    scored = set()
    for threshold, found in zip(THRESHOLDS, by_threshold(probability, truth, presence), strict=True):
        rule = dataclasses.replace(rule, threshold=threshold, area_of=area_of)
        curve = search.curve(found, rule)
        for area in (0, 2, 10, 100, 200, 300, 1000):
            expected = by_masks(probability, truth, dataclasses.replace(rule, min_area=area), presence)
            at = np.searchsorted(curve.areas, area, side="right") - 1
            assert curve.dice[at] == pytest.approx(expected, abs=1e-12)
            scored.add(expected)
    assert len(scored) > 3


def squares(present: np.ndarray, peak: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A square in each image whose probability is its peak; it is true where the class is present."""
    probability, truth = np.zeros((len(present), 20, 30), np.uint8), np.zeros((len(present), 20, 30), bool)
    probability[:, 5:15, 5:20] = peak[:, None, None]
    truth[present, 5:15, 5:20] = True
    return probability, truth


def test_presence_is_chosen_where_it_alone_tells_which_images_have_the_class():
    present = np.arange(16) % 3 == 0
    probability, truth = squares(present, np.full(16, 200))
    presence = np.where(present, 0.75, 0.35).astype(np.float32)
    rule, dice = search.best(by_threshold(probability, truth, presence), THRESHOLDS)
    assert (rule.min_presence, rule.decide, dice) == (0.4, "limits", 1.0)
    without, dice = search.best(by_threshold(probability, truth), THRESHOLDS)
    assert not without.needs_head and dice < 0.7


def test_expected_dice_is_chosen_where_it_alone_tells_which_masks_to_drop():
    """The same mask at the same peak is right alone, and wrong amid pixels that are nearly as probable."""
    present = np.arange(24) % 3 > 0
    probability, truth = squares(present, np.full(24, 140))
    probability[~present] = np.maximum(probability[~present], 120)
    rule, dice = search.best(by_threshold(probability, truth), THRESHOLDS)
    assert (rule.decide, dice) == ("expected_dice", 1.0)
    assert by_masks(probability, truth, rule) == 1.0


def test_a_rule_by_expected_dice_is_calibrated_on_its_own_images_only():
    present, half = np.arange(24) % 3 > 0, np.arange(24) % 2 == 0
    probability, truth = squares(present, np.full(24, 140))
    probability[~present] = np.maximum(probability[~present], 120)
    changed = truth.copy()
    changed[~half] = False
    one, other = (
        search.best_of_each(by_threshold(probability, each), THRESHOLDS, [half])[0] for each in (truth, changed)
    )
    assert one[0].decide == "expected_dice"
    assert one == other
