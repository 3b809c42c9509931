"""The search for threshold and smallest area against trying every pair, one after the other."""

from __future__ import annotations

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


def by_threshold(probability: np.ndarray, truth: np.ndarray) -> list[components.Components]:
    (found,) = components.collect(lambda i: (probability[i][None], truth[i].view(np.uint8)), len(truth), THRESHOLDS, 2)
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


@pytest.mark.parametrize("min_peak", [0.0, 0.75])
@pytest.mark.parametrize("area_of", [EACH_COMPONENT, IN_TOTAL])
@pytest.mark.parametrize("seed", range(2))
def test_every_rule_scores_as_it_does_when_tried(seed, area_of, min_peak):
    probability, truth = images(seed)
    for threshold, found in zip(THRESHOLDS, by_threshold(probability, truth), strict=True):
        curve = search.curve(found, area_of, min_peak)
        for area in (0, 1, 2, 5, 10, 50, 100, 200, 300, 1000):
            expected = brute_force(probability, truth, threshold, area, area_of, min_peak)
            at = np.searchsorted(curve.areas, area, side="right") - 1
            assert curve.dice[at] == pytest.approx(expected, abs=1e-12)
            rule = Rule(threshold, min_peak, area, area_of)
            assert search.dice(found, rule).mean() == pytest.approx(expected, abs=1e-12)
            masks = np.stack([postprocess.mask(each, rule) for each in probability])
            total = (masks.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))).astype(float)
            both = (masks & truth).sum(axis=(1, 2))
            dice = np.divide(2 * both, total, out=np.ones(len(total)), where=total > 0)
            assert dice.mean() == pytest.approx(expected, abs=1e-12)


def test_no_other_rule_is_better():
    probability, truth = images(7)
    rule, dice = search.best(by_threshold(probability, truth), THRESHOLDS)
    tried = max(
        brute_force(probability, truth, threshold, area, area_of, min_peak)
        for threshold in THRESHOLDS
        for min_peak in search.MIN_PEAKS
        if min_peak == 0 or min_peak > threshold
        for area_of in (EACH_COMPONENT, IN_TOTAL)
        for area in range(0, 400, 25)
    )
    assert dice >= tried - 1e-12
    found = brute_force(probability, truth, rule.threshold, rule.min_area, rule.area_of, rule.min_peak)
    assert found == pytest.approx(dice)


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
