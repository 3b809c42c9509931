from __future__ import annotations

import numpy as np
import pytest

from cloudseg.data.labels import NO_DATA
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


def test_counts_are_those_of_masks_at_the_size_of_the_truth_without_the_band():
    random = np.random.default_rng(0)
    probability = random.random((4, 2, 3), np.float32)
    truth = random.choice(np.array([0, 1, 2, 5, 15, NO_DATA, NO_DATA | 3], np.uint8), (4, 6))
    counts = scores.pixel_counts(probability, truth, (0.3, 0.5))
    # Bilinear with half-pixel centres, from 2x3 to 4x6: positions -0.25, 0.25, 0.75, ... between the pixels.
    rows, columns = (np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1) for n in (2, 3))
    top, left = (np.minimum(at.astype(int), n - 2) for at, n in ((rows, 2), (columns, 3)))
    down, right = (rows - top)[:, None], (columns - left)[None]
    for c in range(4):
        p = probability[c].astype(np.float64)
        corners = [p[np.ix_(top + i, left + j)] for i in (0, 1) for j in (0, 1)]
        shares = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
        resized = sum(corner * share for corner, share in zip(corners, shares, strict=True))
        in_truth = (truth < NO_DATA) & (truth >> c & 1 == 1)
        for t, threshold in enumerate((0.3, 0.5)):
            predicted = (resized > threshold) & (truth < NO_DATA)
            expected = [(predicted & in_truth).sum(), predicted.sum(), in_truth.sum()]
            assert counts[c, t].tolist() == expected
