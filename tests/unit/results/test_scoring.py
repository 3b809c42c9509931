"""Scores of probabilities: rules come from images that are not judged by them, and every figure can be recounted."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data.bitmask import pack, unpack
from cloudseg.data.labels import CLASSES
from cloudseg.nets import scores
from cloudseg.results import postprocess, scoring
from cloudseg.results.postprocess import Rule

IMAGES = 16


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray]:
    """Boxes as truth, uint8 bits (n, h, w); blurred, weakened and with specks as probabilities, uint8 (n, C, h, w)."""
    random = np.random.default_rng(1)
    truth = np.zeros((IMAGES, 70, 105), np.uint8)
    probability = np.zeros((IMAGES, 4, 70, 105), np.uint8)
    for i in range(IMAGES):
        masks = np.zeros((4, 70, 105), bool)
        for c in range(4):
            if random.random() < 0.6:
                y, x = random.integers(0, 40), random.integers(0, 60)
                masks[c, y : y + 25, x : x + 40] = True
            said = cv2.blur(masks[c].astype(np.float32), (9, 9)) * 0.5 + 0.1
            y, x = random.integers(0, 60), random.integers(0, 95)
            said[y : y + 5, x : x + 5] = 0.6
            probability[i, c] = 255 * np.clip(said, 0, 1)
        truth[i] = pack(masks)
    return probability, truth


@pytest.fixture(scope="module")
def found(made):
    probability, truth = made
    return scoring.score(lambda i: (probability[i], truth[i]), IMAGES)


@pytest.fixture(scope="module")
def summary(found):
    return scoring.summary(found, [f"{i}.jpg" for i in range(IMAGES)])


def test_bits_and_masks_are_the_same():
    masks = np.random.default_rng(0).random((4, 5, 6)) < 0.5
    assert np.array_equal(unpack(pack(masks)), masks)


def test_each_image_is_cut_by_the_rules_of_the_other_half(made, found):
    probability, truth = made
    for i in range(IMAGES):
        masks = postprocess.masks(probability[i], found.half_rules[1 - i % 2])
        for c, mask in enumerate(unpack(truth[i])):
            assert found.tuned[i, c].tolist() == [(masks[c] & mask).sum(), masks[c].sum(), mask.sum()]


def test_counts_are_those_of_a_plain_loop(made, found):
    """Over images with no-data pixels, masks, classes and rules, one after the other."""
    probability, truth = made[0], made[1].copy()
    truth[:, :, :12] = 128
    scored = scoring.score(lambda i: (probability[i], truth[i]), IMAGES)
    histogram = np.zeros((4, 2, 256), int)
    for i in range(IMAGES):
        masks, valid = unpack(truth[i]), truth[i] < 128
        predicted = postprocess.masks(probability[i], scored.half_rules[1 - i % 2]) & valid
        for c, mask in enumerate(masks):
            assert scored.tuned[i, c].tolist() == [(predicted[c] & mask).sum(), predicted[c].sum(), mask.sum()]
            half = probability[i, c] > 127
            assert scored.untuned[i, c].tolist() == [(half & mask).sum(), half.sum(), mask.sum()]
            for inside in (0, 1):
                np.add.at(histogram[c, inside], probability[i, c][mask == inside], 1)
            assert scored.overlap[i, c].tolist() == [(mask & each).sum() for each in predicted]
    assert np.array_equal(scored.histogram, histogram)


def test_what_one_half_holds_does_not_change_its_own_rules(made, found):
    """Other truths in the odd images change the rules of the odd, and so the scores of the even, and not theirs."""
    probability, truth = made
    changed = truth.copy()
    changed[1::2] = 0
    again = scoring.score(lambda i: (probability[i], changed[i]), IMAGES)
    assert again.half_rules[0] == found.half_rules[0]
    assert again.half_rules[1] != found.half_rules[1]
    assert np.array_equal(again.tuned[1::2, :, 1], found.tuned[1::2, :, 1])


def test_no_image_is_cut_by_what_was_chosen_on_it():
    """Even images want specks dropped, odd ones are nothing but small: each half gets the other's rule."""
    probability, truth = np.zeros((8, 4, 70, 105), np.uint8), np.zeros((8, 70, 105), np.uint8)
    probability[:, :, 10:20, 10:30] = 230
    truth[1::2, 10:20, 10:30] = 15
    found = scoring.score(lambda i: (probability[i], truth[i]), 8)
    assert scores.dice(found.tuned).max() == 0
    assert scores.dice(found.untuned).mean() == 0.5


def test_tuning_beats_one_half_on_images_it_has_not_seen(summary):
    assert summary["dice"] > summary["dice_untuned"] + 0.1
    for half in summary["halves"].values():
        assert half["images"] == IMAGES // 2
        assert half["dice"] > half["dice_untuned"]
    assert summary["gain_interval"][0] > 0


def test_untuned_is_one_half_and_nothing_else(made, summary):
    probability, truth = made
    dice = [
        scores.dice(np.array([(p & t).sum(), p.sum(), t.sum()]))
        for i in range(IMAGES)
        for p, t in zip(probability[i] >= 128, unpack(truth[i]), strict=True)
    ]
    assert summary["dice_untuned"] == pytest.approx(np.mean(dice))
    empty = np.mean([not mask.any() for i in range(IMAGES) for mask in unpack(truth[i])])
    assert summary["dice_all_empty"] == pytest.approx(empty)


def test_presence_of_the_other_half_cuts_the_masks():
    """Each image has a square, which is true where the presence head says so and where nothing else does."""
    probability, truth = np.zeros((12, 4, 70, 105), np.uint8), np.zeros((12, 70, 105), np.uint8)
    probability[:, :, 10:40, 20:80] = 200
    presence = np.where(np.random.default_rng(0).random((12, 4)) < 0.5, 0.85, 0.15).astype(np.float32)
    for i, c in np.argwhere(presence > 0.5):
        truth[i, 10:40, 20:80] |= 1 << c

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        return probability[i], truth[i]

    found = scoring.score(read, 12, presence=presence)
    assert scores.dice(found.tuned).min() == 1
    assert all(rule.needs_head for rule in found.rules)
    assert scores.dice(scoring.score(read, 12).tuned).mean() < 0.8


def test_boxes_are_told_by_their_shape():
    """Where probabilities leave notches in boxes, boxes are what scores best, on the other half too."""
    truth, probability = np.zeros((8, 70, 105), np.uint8), np.zeros((8, 4, 70, 105), np.uint8)
    truth[:, 10:40, 20:80] = 1
    probability[:, 0, 10:40, 20:80] = 230
    probability[:, 0, 10:25, 20:50] = 0
    found = scoring.score(lambda i: (probability[i], truth[i]), 8)
    assert found.rules[0].shape == postprocess.BOX
    assert scores.dice(found.tuned)[:, 0].min() == 1


def test_intervals_hold_the_mean_and_shrink_with_more_images():
    values = np.random.default_rng(0).random(400)
    low, high = scoring.interval(values)
    assert low < values.mean() < high
    # Of a mean of uniform numbers: +- 1.96 / sqrt(12 n).
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(12 * 400), rel=0.1)
    assert scoring.interval(values) == [low, high]


def test_presence_counts_images():
    counts = np.array([[1, 2, 3], [0, 5, 0], [0, 0, 4], [0, 0, 0]])
    assert scoring.presence(counts) == {"images": 2, "predicted": 2, "precision": 0.5, "recall": 0.5}
    nothing = np.zeros((3, 3), int)
    assert scoring.presence(nothing) == {"images": 0, "predicted": 0, "precision": 1.0, "recall": 1.0}


def test_probabilities_that_hold_are_without_error():
    histogram = np.zeros((2, 256), int)
    histogram[:, 51] = 80, 20  # 0.2
    histogram[:, 255] = 0, 50
    found = scoring.calibration(histogram)
    assert found["error"] == pytest.approx(0)
    assert [bin["pixels"] for bin in found["bins"]] == [100, 50]
    histogram[:, 51] = 20, 80
    assert scoring.calibration(histogram)["error"] == pytest.approx(0.6 * 100 / 150)


def test_confusion_is_of_true_pixels(made, found, summary):
    table = summary["confusion"]
    assert set(table) == set(CLASSES)
    for c, name in enumerate(CLASSES):
        assert table[name][name] == pytest.approx(found.tuned[:, c, 0].sum() / found.tuned[:, c, 2].sum())


def test_the_best_and_the_worst_are_named(found, summary):
    images = scores.dice(found.tuned).mean(axis=1)
    assert summary["best"][0] == [f"{int(images.argmax())}.jpg", pytest.approx(images.max())]
    assert summary["worst"][0] == [f"{int(images.argmin())}.jpg", pytest.approx(images.min())]


@pytest.mark.parametrize("images", [1, 2])
def test_very_few_images_are_no_error(made, images):
    probability, truth = made
    found = scoring.score(lambda i: (probability[i], truth[i]), images)
    json.dumps(scoring.summary(found, ["a", "b"][:images]))


def test_rules_come_back_from_the_file(tmp_path, found):
    (tmp_path / "thresholds.json").write_text(json.dumps(postprocess.to_table(found.rules)))
    assert postprocess.load(tmp_path / "thresholds.json") == found.rules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there; python -m cloudseg.evaluate writes it"),
        ("{", "is not JSON"),
        ("{}", "must have the classes Fish, Flower, Gravel, Sugar"),
        ('{"Fish": {"treshold": 1}, "Flower": {}, "Gravel": {}, "Sugar": {}}', "thresholds.json, Fish.*threshold"),
    ],
)
def test_a_file_without_rules_is_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / "thresholds.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        postprocess.load(tmp_path / "thresholds.json")


def test_masks_by_hand():
    probability = np.zeros((20, 20), np.uint8)
    probability[2:6, 2:6] = 200
    probability[10, 10:14] = 150
    rules = [
        Rule(),
        Rule(threshold=0.7),
        Rule(min_area=5),
        Rule(min_area=17, area_of="total"),
        Rule(min_area=21, area_of="total"),
        Rule(min_peak=0.7),
        Rule(min_peak=0.9),
    ]
    assert [postprocess.mask(probability, rule).sum() for rule in rules] == [20, 16, 16, 20, 0, 20, 0]


def test_shapes_by_hand():
    found = np.zeros((9, 9), bool)
    found[1, 1:5] = found[1:5, 1] = True  # an L
    assert postprocess.reshape(found, postprocess.BOX).sum() == 16
    assert postprocess.reshape(found, postprocess.HULL).sum() == 10
    assert np.array_equal(postprocess.reshape(found, postprocess.AS_IT_IS), found)
