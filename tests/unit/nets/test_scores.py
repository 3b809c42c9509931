from __future__ import annotations

import numpy as np
import pytest

from cloudseg.nets import scores


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
