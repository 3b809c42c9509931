from __future__ import annotations

import numpy as np
import pytest

from cloudseg.nets import scores
from cloudseg.results import postprocess


def test_dice_by_hand():
    counts = np.array([[2, 4, 4], [0, 3, 5], [0, 0, 0], [0, 1, 0], [6, 6, 6]])
    assert scores.dice(counts).tolist() == [0.5, 0.0, 1.0, 0.0, 1.0]


def test_iou_by_hand():
    counts = np.array([[2, 4, 4], [0, 0, 0], [0, 1, 0]])
    assert scores.iou(counts) == pytest.approx([1 / 3, 1.0, 0.0])


def test_all_empty_scores_the_share_of_empty_pairs():
    counts = np.zeros((2, 4, 3), int)
    counts[0, 1, 2] = counts[1, 1, 2] = counts[1, 3, 2] = 10
    assert scores.all_empty(counts) == 5 / 8


def pixel_counts(truth: list[int], predicted: list[int]) -> np.ndarray:
    """(n, 1, T, 3): the same prediction at every threshold; it meets the truth as far as it can."""
    rows = [[min(p, t), p, t] for p, t in zip(predicted, truth, strict=True)]
    return np.repeat(np.array(rows)[:, None, None], len(postprocess.THRESHOLDS), axis=2)


def test_tuning_drops_specks_of_patterns_that_are_not_there():
    counts = pixel_counts(truth=[20000, 0, 0, 30000], predicted=[18000, 700, 900, 30000])
    choice = postprocess.tune(counts)[0]
    assert 900 < choice.area <= 18000
    kept = postprocess.apply(counts, [choice])
    assert kept[:, 0, 1].tolist() == [18000, 0, 0, 30000]
    assert kept[:, 0, 2].tolist() == [20000, 0, 0, 30000]


def test_of_equal_choices_the_plainest_is_taken():
    counts = pixel_counts(truth=[30000, 0], predicted=[30000, 0])
    choice = postprocess.tune(counts)[0]
    assert (postprocess.THRESHOLDS[choice.threshold], choice.area) == (0.5, 0)


def test_no_image_is_cut_by_what_was_chosen_on_it():
    # Even images want specks dropped, odd ones are nothing but small: each half gets the other's choice.
    counts = pixel_counts(truth=[0, 700] * 4, predicted=[700, 700] * 4)
    honest = scores.dice(postprocess.cross_tuned(counts))[:, 0]
    assert honest[0::2].tolist() == [0.0] * 4
    assert honest[1::2].tolist() == [0.0] * 4


def test_tuning_does_not_change_the_counts_it_is_given():
    counts = pixel_counts(truth=[20000, 0], predicted=[18000, 700])
    before = counts.copy()
    postprocess.tune(counts)
    assert np.array_equal(counts, before)
