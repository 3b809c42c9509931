"""Components that are found from runs of pixels are those that OpenCV labels, one mask after the other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cloudseg.results import components

THRESHOLDS = (0.2, 0.5, 0.55, 0.8)
SIZES = ((1, 1), (1, 30), (30, 1), (2, 2), (23, 41), (40, 17))


def labelled(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels, int32 (h, w), and the area of each label, 0 being the background."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels, stats[:, cv2.CC_STAT_AREA]


def made(size: tuple[int, int], blur: float) -> tuple[np.ndarray, np.ndarray]:
    """Noise, or blobs if it is blurred, as probability, uint8; and a truth, bool."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, size).astype(np.uint8)
    smooth = cv2.equalizeHist(cv2.GaussianBlur(noise, (0, 0), blur)) if blur else noise
    return smooth, random.random(size) < 0.5


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("blur", [0, 2])
def test_areas_hits_and_masses_are_those_of_the_labels_of_each_threshold(size, blur):
    probability, truth = made(size, blur)
    found = components.split(probability, truth, THRESHOLDS)
    assert len(found) == len(THRESHOLDS)
    for threshold, (area, hits, mass) in zip(THRESHOLDS, found, strict=True):
        labels, areas = labelled(probability > int(threshold * 255))
        expected = [
            (areas[label], (truth & (labels == label)).sum(), probability[labels == label].sum())
            for label in range(1, len(areas))
        ]
        assert sorted(zip(area, hits, mass, strict=True)) == sorted(expected)
        assert (np.diff(area) <= 0).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("blur", [0, 2])
@pytest.mark.parametrize("min_area", [0, 2, 9, 10**6])
def test_small_components_are_dropped_and_no_other_pixel(size, blur, min_area):
    mask = made(size, blur)[0] > 140
    labels, areas = labelled(mask)
    expected = mask & (areas[labels] >= min_area)
    before = mask.copy()
    assert np.array_equal(components.drop_small(mask, min_area), expected)
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("value", [0, 255])
def test_masks_without_a_pixel_or_without_a_border_are_no_error(value):
    found = components.split(np.full((4, 6), value, np.uint8), np.ones((4, 6), bool), (0.05, 0.95))
    expected = ([24], [24], [24 * 255]) if value else ([], [], [])
    assert [tuple(map(list, each)) for each in found] == [expected] * 2


def test_long_winding_components_are_one():
    """A spiral, whose ends meet after as many rows as it has turns; and two combs that mesh without touching."""
    spiral = np.zeros((41, 41), bool)
    y, x, dy, dx = 20, 20, 0, 1
    for side in range(2, 40, 2):
        for _ in range(2):
            for _ in range(side):
                spiral[y, x] = True
                y, x = y + dy, x + dx
            dy, dx = dx, -dy
    combs = np.zeros((20, 41), bool)
    combs[0, :] = combs[:17, ::4] = combs[19, :] = combs[3:, 2::4] = True
    for mask, count in ((spiral, 1), (combs, 2)):
        probability = np.where(mask, 200, 0).astype(np.uint8)
        ((area, *_),) = components.split(probability, mask, (0.5,))
        assert len(area) == count and area.sum() == mask.sum()


def test_pixels_that_touch_at_a_corner_are_one_component():
    probability = np.zeros((4, 4), np.uint8)
    probability[0, 0] = probability[1, 1] = probability[2, 0] = 255
    ((area, hits, _),) = components.split(probability, probability > 0, (0.5,))
    assert area.tolist() == hits.tolist() == [3]


def test_runs_at_the_end_of_a_row_and_at_the_start_of_the_next_are_apart():
    probability = np.zeros((2, 3), np.uint8)
    probability[0, 2] = probability[1, 0] = 255
    ((area, *_),) = components.split(probability, probability > 0, (0.5,))
    assert area.tolist() == [1, 1]
