"""Pixel counts and scores from them, on the CPU: exact, and independent of the distribution of images to ranks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cloudseg.data.labels import NO_DATA


def pixel_counts(probability: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Count pixels per class and threshold at the size of the competition's masks.

    probability float32 (C, H, W); truth packed mask uint8 (h, w). Probabilities are resized bilinearly to (h, w), then
    compared with the thresholds; no-data pixels are ignored. Returns int64 (C, T, 3): pixels in prediction and truth,
    in the prediction, in the truth.
    """
    height, width = truth.shape
    valid = truth < NO_DATA
    counts = np.empty((len(probability), len(thresholds), 3), np.int64)
    for c, of_class in enumerate(probability):
        resized = cv2.resize(of_class, (width, height), interpolation=cv2.INTER_LINEAR)
        in_truth = (truth & (1 << c) != 0) & valid
        counts[c, :, 2] = np.count_nonzero(in_truth)
        for t, threshold in enumerate(thresholds):
            predicted = (resized > threshold) & valid
            counts[c, t, :2] = np.count_nonzero(predicted & in_truth), np.count_nonzero(predicted)
    return counts


def dice(counts: np.ndarray) -> np.ndarray:
    """Dice, 2|A∩B| / (|A|+|B|), from counts (..., 3) of (both, predicted, truth); 1 where both masks are empty.

    This is the competition's score of one image and class; its score of a data set is the mean over all pairs.
    Returns float64 (...).
    """
    both, predicted, truth = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    total = predicted + truth
    return np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1))


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union, |A∩B| / |A∪B|, from the counts that `dice` takes; 1 where both masks are empty.

    Returns float64 (...).
    """
    both, predicted, truth = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    union = predicted + truth - both
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))


def all_empty(counts: np.ndarray) -> float:
    """The competition's score of empty predictions: the share of pairs of image and class with empty ground truth."""
    return float((counts[..., 2] == 0).mean())


def pooled(sums: np.ndarray) -> dict[str, float]:
    """Scores over all pixels, mean over the classes, from `metrics.pooled_sums` (C, 2, 3).

    `soft_dice` uses probabilities, and adds one pixel as the loss `dice` does; `pooled_dice` and `pooled_iou` use masks
    at 0.5.
    """
    soft, hard = np.moveaxis(np.asarray(sums, np.float64), 1, 0)
    both, predicted, truth = soft.T
    return {
        "soft_dice": float(np.mean((2 * both + 1) / (predicted + truth + 1))),
        "pooled_dice": float(dice(hard).mean()),
        "pooled_iou": float(iou(hard).mean()),
    }
