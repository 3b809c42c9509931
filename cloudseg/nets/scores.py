"""Scores from pixel counts, in numpy: exact, and independent of the distribution of images to ranks."""

from __future__ import annotations

import numpy as np


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
