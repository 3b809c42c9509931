"""Scores with rules that were chosen before: every count agrees with one by scipy and set arithmetic."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from cloudseg.data.bitmask import pack
from cloudseg.nets import scores
from cloudseg.results import fixed_rules, postprocess, scoring
from cloudseg.results.postprocess import BOX, IN_TOTAL, Rule
from cloudseg.results.scoring import Scoring

IMAGES, SIZE, NO_DATA = 7, (70, 105), 0x80
RULES = [
    Rule(0.55),
    Rule(0.55, min_area=300),
    Rule(0.6, min_area=1500, area_of=IN_TOTAL, shape=BOX),
    Rule(0.55, min_peak=0.85),
]


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray]:
    """Smooth noise as probabilities, uint8 (n, C, h, w), 0 without data; boxes as truth, uint8 bits (n, h, w)."""
    random = np.random.default_rng(3)
    noise = random.random((IMAGES, 4, *SIZE)).astype(np.float32)
    smooth = np.stack([[cv2.GaussianBlur(each, (0, 0), 6) for each in image] for image in noise])
    stretched = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    probability = (255 * stretched).astype(np.uint8)
    truth = np.zeros((IMAGES, *SIZE), np.uint8)
    for bits in truth:
        masks = np.zeros((4, *SIZE), bool)
        for c in np.flatnonzero(random.random(4) < 0.7):
            y, x = random.integers(0, 40), random.integers(0, 60)
            masks[c, y : y + 30, x : x + 45] = True
        bits[:] = np.where(np.arange(SIZE[1]) < 9, NO_DATA, pack(masks))
    probability[..., :9] = 0
    return probability, truth


@pytest.fixture(scope="module")
def found(made) -> Scoring:
    probability, truth = made
    return fixed_rules.score(
        lambda i: (probability[i], truth[i]), lambda i, each: postprocess.masks(each, RULES), RULES, IMAGES
    )


def expected_mask(probability: np.ndarray, rule: Rule, valid: np.ndarray) -> set[int]:
    """Pixels of the mask, by the definition of each field of a rule."""
    labels, count = ndimage.label(probability > 255 * rule.threshold, structure=np.ones((3, 3)))
    parts = [labels == number for number in range(1, count + 1)]
    if rule.area_of == IN_TOTAL:
        parts = parts if sum(part.sum() for part in parts) >= rule.min_area else []
    parts = [part for part in parts if rule.area_of == IN_TOTAL or part.sum() >= rule.min_area]
    if probability.max() <= 255 * rule.min_peak:
        parts = []
    if rule.shape == BOX:
        for part in parts:
            part[ndimage.find_objects(part.astype(int))[0]] = True
    return {pixel for part in parts for pixel in np.flatnonzero(part & valid)}


def test_counts_are_those_of_the_definition(made, found):
    probability, truth = made
    predicted = found.tuned[..., 1]
    assert (predicted > 0).any(axis=0).all()
    assert (predicted[:, [2, 3]] == 0).any(axis=0).all()  # a limit makes the mask of some images empty
    for i in range(IMAGES):
        for c, rule in enumerate(RULES):
            mask = expected_mask(probability[i, c], rule, truth[i] < NO_DATA)
            actual = set(np.flatnonzero(truth[i] & (1 << c)))
            assert found.tuned[i, c].tolist() == [len(mask & actual), len(mask), len(actual)]
            for other in range(4):
                of_other = set(np.flatnonzero(truth[i] & (1 << other)))
                assert found.overlap[i, other, c] == len(mask & of_other)


def test_what_rules_do_not_decide_is_as_in_an_evaluation_that_chooses_them(made, found):
    probability, truth = made
    chosen = scoring.score(lambda i: (probability[i], truth[i]), IMAGES)
    assert np.array_equal(found.untuned, chosen.untuned)
    assert np.array_equal(found.histogram, chosen.histogram)
    assert np.array_equal(found.surfaces, chosen.surfaces)


def test_no_rule_is_chosen(made, found):
    """Other truths change the scores, and neither masks nor rules."""
    probability, truth = made
    other = fixed_rules.score(
        lambda i: (probability[i], truth[i] & NO_DATA), lambda i, each: postprocess.masks(each, RULES), RULES, IMAGES
    )
    assert found.rules == other.rules == RULES
    assert found.half_rules == (RULES, RULES)
    assert np.array_equal(found.tuned[..., 1], other.tuned[..., 1])
    assert scores.dice(found.tuned).mean() != scores.dice(other.tuned).mean()


def test_one_image_is_enough(made):
    probability, truth = made
    alone = fixed_rules.score(
        lambda i: (probability[i], truth[i]), lambda i, each: postprocess.masks(each, RULES), RULES, 1
    )
    assert scoring.summary(alone, ["a.jpg"])["images"] == 1
