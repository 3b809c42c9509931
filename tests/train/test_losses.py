"""Losses and their settings against independent implementations, written from the papers' definitions in numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from cloudseg.data.labels import NO_DATA
from cloudseg.nets import losses, names
from cloudseg.nets.masks import unpack
from tests.train.test_metrics import FAR, probabilities_and_truth, random_case

PAIRS = [(i, c) for i in range(3) for c in range(4)]


def value(name: str, logits: np.ndarray, mask: np.ndarray, **settings) -> float:
    return float(losses.by_name(name, (2.0,), **settings)(tf.constant(logits), *unpack(mask)))


def gradient(loss: losses.Loss, logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    given = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = loss(given, *unpack(mask))
    return tape.gradient(found, given).numpy()


def focal_of_pixels(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Lin et al. 2017, equation 5, with the published gamma and alpha."""
    p_t, share = np.where(truth, p, 1 - p), np.where(truth, 0.25, 0.75)
    return -share * (1 - p_t) ** 2 * np.log(p_t)


def lovasz_of_a_pair(logits: np.ndarray, truth: np.ndarray) -> float:
    """Lovász extension of the Jaccard loss at the hinge errors (Berman et al. 2018), as the integral of Choquet: over
    all levels, the loss of a prediction that is wrong where the error reaches the level."""
    errors = np.maximum(0, 1 - logits * np.where(truth, 1, -1)).astype(np.float64)
    total, below = 0.0, 0.0
    for level in np.unique(errors[errors > 0]):
        total += (level - below) * (1 - jaccard(truth ^ (errors >= level), truth))
        below = level
    return total


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    either = (one | other).sum()
    return (one & other).sum() / either if either else 1.0


def test_focal_loss_is_that_of_its_formula_outside_the_band():
    logits, mask = random_case()
    p, truth, valid = probabilities_and_truth(logits, mask)
    of_images = [focal_of_pixels(p[i], truth[i])[valid[i]] for i in range(3)]
    expected = np.mean([each.mean() if each.size else 0 for each in of_images])
    assert value("focal", logits, mask) == pytest.approx(expected, rel=1e-5)


def test_lovasz_hinge_is_the_lovasz_extension_of_the_jaccard_loss_outside_the_band():
    logits, mask = random_case()
    _, truth, valid = probabilities_and_truth(logits, mask)
    expected = [lovasz_of_a_pair(logits[i, ..., c][valid[i]], truth[i, ..., c][valid[i]]) for i, c in PAIRS]
    assert value("lovasz", logits, mask) == pytest.approx(np.mean(expected), rel=1e-5)


def test_lovasz_hinge_of_errors_that_are_0_or_1_is_one_minus_jaccard_in_every_case_of_four_pixels():
    masks = np.array(list(itertools.product((False, True), repeat=4)))
    for truth, predicted in itertools.product(masks, masks):
        right = np.where(truth, 1.0, -1.0)
        logits = np.zeros((1, 1, 4, 4), np.float32)
        logits[0, 0, :, 0] = np.where(truth == predicted, right, 0)  # error 0, or 1
        logits[..., 1:] = -FAR
        mask = truth[None, None].astype(np.uint8)
        assert value("lovasz", logits, mask) * 4 == pytest.approx(1 - jaccard(predicted, truth), abs=1e-6)


def test_lovasz_hinge_has_the_same_gradient_in_each_run_where_many_errors_are_equal():
    random = np.random.default_rng(1)
    logits = random.choice(np.array([-1, -0.5, 0, 0.5], np.float32), (2, 64, 64, 4))
    mask = random.choice(np.array([0, 1, 5, 15, NO_DATA], np.uint8), (2, 64, 64))
    found = [gradient(tf.function(losses.lovasz), logits, mask).tobytes() for _ in range(5)]
    assert len(set(found)) == 1


def test_a_network_that_diverged_has_no_finite_lovasz_hinge():
    logits = np.full((1, 64, 64, 4), np.nan, np.float32)
    logits[:, ::2] = np.random.default_rng(0).normal(size=(1, 32, 64, 4))
    assert not math.isfinite(value("lovasz", logits, np.ones((1, 64, 64), np.uint8)))


@pytest.mark.parametrize(("name", "second"), [("bce_dice", "dice"), ("bce_lovasz", "lovasz")])
def test_a_sum_of_two_losses_is_plain_or_has_weights(name, second):
    logits, mask = random_case()
    one, other = value("bce", logits, mask), value(second, logits, mask)
    assert value(name, logits, mask) == pytest.approx(one + other, rel=1e-6)
    assert value(name, logits, mask, weights=(0.75, 0.25)) == pytest.approx(0.75 * one + 0.25 * other, rel=1e-6)


def test_the_default_loss_has_the_bits_that_it_had_before_it_had_settings():
    logits, mask = random_case()
    bce, dice = losses.bce(logits, *unpack(mask)), losses.dice(logits, *unpack(mask))
    assert value("bce_dice", logits, mask) == float(bce + dice)
    before = gradient(lambda *given: losses.bce(*given) + losses.dice(*given), logits, mask)
    np.testing.assert_array_equal(gradient(losses.by_name("bce_dice", ()), logits, mask), before)


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_smoothed_labels_are_in_the_cross_entropy_alone(weight):
    logits, mask = random_case()
    p, truth, valid = probabilities_and_truth(logits, mask)
    soft = truth * 0.9 + 0.05
    entropy = -(weight * soft * np.log(p) + (1 - soft) * np.log(1 - p))
    expected = np.mean([entropy[i][valid[i]].mean() if valid[i].any() else 0 for i in range(3)])
    name = "bce" if weight == 1.0 else "weighted_bce"
    assert value(name, logits, mask, smoothing=0.1) == pytest.approx(expected, rel=1e-5)
    dice = value("dice", logits, mask)
    assert value("dice", logits, mask, smoothing=0.1) == dice
    if weight == 1.0:
        assert value("bce_dice", logits, mask, smoothing=0.1) == pytest.approx(expected + dice, rel=1e-5)


def of_a_pair(name: str, logits: np.ndarray, mask: np.ndarray, image: int, chosen: int) -> float:
    """The part of a pair of image and class in a loss, times the number of pairs: the others have loss 0."""
    alone = np.where(mask[image] < NO_DATA, mask[image] & (1 << chosen), mask[image])
    others = np.where(np.arange(4) == chosen, logits[image], -FAR).astype(np.float32)
    return 4 * value(name, others[None], alone[None].astype(np.uint8))


@pytest.mark.parametrize("name", names.LOSSES)
def test_pairs_without_a_true_pixel_have_loss_0_and_the_others_keep_theirs(name):
    logits, mask = random_case()
    _, truth, valid = probabilities_and_truth(logits, mask)
    truth = truth & valid[..., None]
    truth[2, ..., 1] = False
    mask = np.where(valid, (truth * np.array([1, 2, 4, 8])).sum(axis=-1), mask).astype(np.uint8)
    labelled = truth.any(axis=(1, 2))
    assert labelled.any() and not labelled.all() and not labelled[1].any()
    expected = sum(of_a_pair(name, logits, mask, i, c) for i, c in PAIRS if labelled[i, c]) / len(PAIRS)
    assert value(name, logits, mask, empty_pairs="ignore") == pytest.approx(expected, rel=1e-5)
    assert value(name, logits, mask, empty_pairs="keep") > expected
    moved = gradient(losses.by_name(name, (2.0,), empty_pairs="ignore"), logits, mask).any(axis=(1, 2))
    np.testing.assert_array_equal(moved, labelled)


def test_smoothed_labels_of_pairs_without_a_true_pixel_count_nothing_either():
    logits, mask = random_case()
    empty = np.where(mask < NO_DATA, 0, mask).astype(np.uint8)
    assert value("bce", logits, empty, smoothing=0.1, empty_pairs="ignore") == 0


@pytest.mark.parametrize("empty_pairs", names.EMPTY_PAIRS)
@pytest.mark.parametrize("name", names.LOSSES)
def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_halves_with_every_setting(name, empty_pairs):
    logits, mask = (np.concatenate([part, part[::-1]])[:4] for part in random_case())
    whole, *halves = (
        value(name, logits[part], mask[part], smoothing=0.1, empty_pairs=empty_pairs)
        for part in (slice(0, 4), slice(0, 2), slice(2, 4))
    )
    assert whole == pytest.approx(np.mean(halves), rel=1e-6)
