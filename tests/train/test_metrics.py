"""Losses and scores against independent ones in plain numpy, and against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cloudseg.data.labels import NO_DATA
from cloudseg.nets import losses, metrics, names, scores
from cloudseg.nets.masks import unpack

FAR = 50.0
"""A logit whose probability is 1, or with a minus 0, in float32."""


def competition_dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Of bool (n, H, W, C), as the competition's page words it."""
    pairs = []
    for i in range(len(truth)):
        for c in range(truth.shape[-1]):
            x, y = predicted[i, ..., c], truth[i, ..., c]
            pairs.append(1.0 if x.sum() + y.sum() == 0 else 2 * (x & y).sum() / (x.sum() + y.sum()))
    return float(np.mean(pairs))


def test_competition_dice_is_that_of_an_independent_implementation_on_a_thousand_cases():
    random = np.random.default_rng(0)
    for _ in range(1000):
        count, height, width = random.integers(1, 4), random.integers(1, 9), random.integers(1, 9)
        # Empty truths, empty predictions and full ones must be among them.
        share = random.choice([0.0, 0.1, 0.5, 1.0], (2, count, 1, 1, 4))
        predicted, truth = random.random((2, count, height, width, 4)) < share
        probability = np.ascontiguousarray(np.moveaxis(predicted, -1, 1), np.float32)
        bits = (truth * np.array([1, 2, 4, 8])).sum(axis=-1).astype(np.uint8)
        counts = [scores.pixel_counts(p, b, [0.5])[:, 0] for p, b in zip(probability, bits, strict=True)]
        assert scores.dice(np.stack(counts)).mean() == pytest.approx(competition_dice(predicted, truth), abs=1e-12)


def random_case() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    mask = random.choice(np.array([0, 1, 2, 3, 8, 15, NO_DATA], np.uint8), (3, 6, 5))
    mask[1] = NO_DATA  # an image without any data
    return random.normal(0, 3, (3, 6, 5, 4)).astype(np.float32), mask


def probabilities_and_truth(logits: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = (mask[..., None] & np.array([1, 2, 4, 8], np.uint8)) > 0
    return 1 / (1 + np.exp(-logits.astype(np.float64))), truth, mask < NO_DATA


def per_image(logits: np.ndarray, mask: np.ndarray, weight: np.ndarray) -> list[float]:
    p, truth, valid = probabilities_and_truth(logits, mask)
    out = []
    for i in range(len(mask)):
        entropy = -np.where(truth[i], weight * np.log(p[i]), np.log(1 - p[i]))[valid[i]]
        out.append(float(entropy.mean()) if entropy.size else 0.0)
    return out


@pytest.mark.parametrize("weight", [(1.0,), (3.0,), (0.5, 1.0, 2.0, 40.0)])
def test_weighted_cross_entropy_is_that_of_its_formula_outside_the_band(weight):
    logits, mask = random_case()
    got = float(losses.weighted_bce(weight)(tf.constant(logits), *unpack(mask)))
    assert got == pytest.approx(np.mean(per_image(logits, mask, np.array(weight))), rel=1e-5)


def test_cross_entropy_is_the_weighted_one_of_weight_one():
    logits, mask = random_case()
    assert float(losses.bce(logits, *unpack(mask))) == pytest.approx(
        float(losses.weighted_bce((1.0,))(logits, *unpack(mask))), rel=1e-6
    )


def test_soft_dice_loss_is_that_of_its_formula_outside_the_band():
    logits, mask = random_case()
    p, truth, valid = probabilities_and_truth(logits, mask)
    expected = [
        1 - (2 * (p * truth)[i, ..., c][valid[i]].sum() + 1) / ((p + truth)[i, ..., c][valid[i]].sum() + 1)
        for i in range(3)
        for c in range(4)
    ]
    assert float(losses.dice(tf.constant(logits), *unpack(mask))) == pytest.approx(np.mean(expected), rel=1e-5)


def test_an_empty_prediction_of_an_empty_truth_costs_nothing():
    logits, mask = np.full((1, 4, 4, 4), -FAR, np.float32), np.zeros((1, 4, 4), np.uint8)
    for name in names.LOSSES:
        assert float(losses.by_name(name, (2.0,))(logits, *unpack(mask))) == pytest.approx(0, abs=1e-6)


def test_what_is_predicted_in_the_band_changes_no_loss():
    logits, mask = random_case()
    other = np.where((mask == NO_DATA)[..., None], -logits, logits)
    for name in names.LOSSES:
        loss = losses.by_name(name, (2.0,))
        assert float(loss(logits, *unpack(mask))) == pytest.approx(float(loss(other, *unpack(mask))), rel=1e-6)


def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_halves():
    logits, mask = (np.concatenate([part, part[::-1]])[:4] for part in random_case())
    for name in names.LOSSES:
        loss = losses.by_name(name, (2.0,))
        halves = [float(loss(logits[i : i + 2], *unpack(mask[i : i + 2]))) for i in (0, 2)]
        assert float(loss(logits, *unpack(mask))) == pytest.approx(np.mean(halves), rel=1e-6)


def test_weights_from_areas_are_negatives_over_positives():
    assert losses.balanced([25, 50, 100, 0], 100) == (3.0, 1.0, 0.0, 1.0)


def test_pooled_scores_by_hand():
    """Two images of one row of three pixels, the last of them band; class 0 only."""
    mask = np.array([[[1, 0, NO_DATA]], [[0, 1, NO_DATA]]], np.uint8)
    logits = np.full((2, 1, 3, 4), -FAR, np.float32)
    logits[..., 0] = [[[FAR, FAR, FAR]], [[-FAR, FAR, FAR]]]
    got = scores.pooled(metrics.pooled_sums(logits, *unpack(mask)).numpy())
    # Class 0: predicted 3 pixels, true 2, both 2; soft with one pixel more above and below. The others are empty.
    expected = {"soft_dice": (5 / 6 + 3) / 4, "pooled_dice": (4 / 5 + 3) / 4, "pooled_iou": (2 / 3 + 3) / 4}
    assert got == pytest.approx(expected)


def test_pooled_sums_of_parts_add_up():
    logits, mask = random_case()
    whole = metrics.pooled_sums(logits, *unpack(mask)).numpy()
    parts = [metrics.pooled_sums(logits[i : i + 1], *unpack(mask[i : i + 1])).numpy() for i in range(3)]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-5)
