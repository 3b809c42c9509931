"""The expected Dice against sums over all truths of tiny images, and the calibration against known curves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cloudseg.results import expected_dice


def exactly(presence: float, conditional: np.ndarray, mask: np.ndarray) -> float:
    """Expected Dice of a mask that is not empty, by enumeration: with probability `presence` the class is in the image,
    and then each pixel is true independently with its `conditional` probability."""
    total = 0.0
    for truth in itertools.product((False, True), repeat=len(conditional)):
        pixels = np.array(truth)
        weight = np.where(pixels, conditional, 1 - conditional).prod()
        total += weight * 2 * (pixels & mask).sum() / (pixels.sum() + mask.sum())
    return presence * total


def sums(presence: float, conditional: np.ndarray, mask: np.ndarray) -> tuple[float, float, float, int]:
    """What `of_mask` takes, from the probabilities that a calibrated network predicts, p = P q."""
    probability = presence * conditional
    return presence, probability[mask].sum(), probability.sum(), np.count_nonzero(mask)


@pytest.mark.parametrize("presence", [0.1, 0.5, 1.0])
def test_formula_is_exact_for_pixels_that_are_certain_once_the_class_is_there(presence):
    certain = np.array([1.0, 1.0, 1.0, 0.0, 0.0])
    for pixels in itertools.product((False, True), repeat=5):
        mask = np.array(pixels)
        if mask.any():
            found = presence * expected_dice.of_mask(*sums(presence, certain, mask))
            assert found == pytest.approx(exactly(presence, certain, mask))


def test_formula_is_near_the_enumeration_for_pixels_that_are_not_certain():
    """Twelve pixels are far fewer than an image has, and the ratio of expectations is the better the more there are."""
    random, errors = np.random.default_rng(0), []
    for _ in range(20):
        presence, conditional = random.uniform(0.1, 1), random.beta(0.7, 0.7, 12)
        mask = conditional > random.uniform(0.2, 0.6)
        if mask.any():
            found = presence * expected_dice.of_mask(*sums(presence, conditional, mask))
            errors.append(abs(found - exactly(presence, conditional, mask)))
    assert max(errors) < 0.03


def test_decision_is_the_one_of_the_enumeration_where_that_is_clear():
    random, decided = np.random.default_rng(1), []
    for _ in range(40):
        presence, conditional = random.uniform(0.2, 0.9), random.beta(0.7, 0.7, 10)
        mask = conditional > 0.4
        gain = exactly(presence, conditional, mask) - (1 - presence)
        if mask.any() and abs(gain) > 0.05:
            decided.append(gain > 0)
            assert expected_dice.is_better(*sums(presence, conditional, mask)) == decided[-1]
    assert 5 < sum(decided) < len(decided) - 5


def test_formula_is_near_a_simulation_of_blobs_whose_pixels_are_not_independent():
    """The truth is a disc of uncertain radius around the centre: true pixels come together."""
    y, x = np.mgrid[-20:21, -20:21]
    distance = np.hypot(y, x)
    radii = np.random.default_rng(0).uniform(6, 14, 2000)
    conditional = (distance[None] <= radii[:, None, None]).mean(axis=0)
    for threshold in (0.3, 0.5, 0.7):
        mask = conditional > threshold
        dice = [2 * (mask & (distance <= r)).sum() / (mask.sum() + (distance <= r).sum()) for r in radii]
        found = expected_dice.of_mask(*sums(0.6, conditional, mask))
        assert found == pytest.approx(np.mean(dice), abs=0.04)


def test_by_hand():
    # P = 0.5; 8 of the 10 pixels' mass of 4 are inside a mask of 8 pixels: q has 6.4 inside and 8 in all.
    assert expected_dice.of_mask(0.5, 3.2, 4.0, 8) == pytest.approx(2 * 6.4 / (8 + 8))
    # P is too low for these pixels: no more than all 8 are true.
    assert expected_dice.of_mask(0.1, 3.2, 3.2, 8) == pytest.approx(1.0)
    # An empty mask is never better than an empty mask.
    assert not expected_dice.is_better(0.9, 0.0, 0.0, 0)


def test_calibration_finds_the_curve_that_made_the_data():
    random = np.random.default_rng(0)
    evidence = random.uniform(0.02, 0.98, 50_000)
    true = expected_dice.presence(evidence, 1.7, -0.6)
    slope, intercept = expected_dice.fit(evidence, random.random(len(true)) < true)
    assert (slope, intercept) == (pytest.approx(1.7, abs=0.1), pytest.approx(-0.6, abs=0.1))


@pytest.mark.parametrize(
    ("evidence", "present"),
    [
        ([0.1, 0.2, 0.8, 0.9], [False, False, True, True]),
        ([0.0, 0.0, 1.0, 1.0], [False, False, True, True]),
        ([0.5, 0.5, 0.5], [True, False, False]),
        ([0.3, 0.6], [True, True]),
        ([0.4], [False]),
        ([0.9, 0.8, 0.2, 0.1], [False, False, True, True]),
    ],
)
def test_calibration_of_few_or_separable_images_is_finite_and_has_their_mean(evidence, present):
    present = np.array(present)
    slope, intercept = expected_dice.fit(np.array(evidence), present)
    found = expected_dice.presence(np.array(evidence), slope, intercept)
    assert np.isfinite([slope, intercept]).all() and ((found > 0) & (found < 1)).all()
    positives, negatives = present.sum(), (~present).sum()
    targets = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    assert found.mean() == pytest.approx(targets.mean(), abs=1e-4)


def test_evidence_of_nothing_and_of_certainty_is_finite():
    assert 0 < expected_dice.presence(0.0, 1.0, 0.0) < expected_dice.presence(1.0, 1.0, 0.0) < 1
    assert expected_dice.presence(0.3, 1.0, 0.0) == pytest.approx(0.3)
