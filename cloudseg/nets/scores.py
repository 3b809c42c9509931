"""Scores from pixel counts, in numpy: exact, and the same however the images were dealt to ranks."""

from __future__ import annotations

import numpy as np


def dice(counts: np.ndarray) -> np.ndarray:
    """2|A∩B| / (|A|+|B|) from counts (..., 3) of (both, predicted, truth); 1 where prediction and truth are empty.

    This is the competition's score of one image and class; its score of a set is the mean over all pairs.
    Returns float64 (...).
    """
    both, predicted, truth = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    total = predicted + truth
    return np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1))


def iou(counts: np.ndarray) -> np.ndarray:
    """|A∩B| / |A∪B| from counts (..., 3), 1 where both are empty. Returns float64 (...)."""
    both, predicted, truth = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    union = predicted + truth - both
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))


def all_empty(counts: np.ndarray) -> float:
    """The competition's score of predicting nothing anywhere: the share of pairs whose truth is empty."""
    return float((counts[..., 2] == 0).mean())


def pooled(sums: np.ndarray) -> dict[str, float]:
    """Scores of pixels, mean over the classes, from `metrics.pooled_sums` (C, 2, 3): `soft_dice` of probabilities,
    `pooled_dice` and `pooled_iou` of predictions. A class with neither prediction nor truth counts 1."""
    sums = np.asarray(sums, np.float64)
    both, predicted, truth = np.moveaxis(sums, -1, 0)
    total, union = predicted + truth, predicted + truth - both
    dices = np.where(total > 0, 2 * both / np.where(total > 0, total, 1), 1.0)
    ious = np.where(union > 0, both / np.where(union > 0, union, 1), 1.0)
    return {
        "soft_dice": float(dices[:, 0].mean()),
        "pooled_dice": float(dices[:, 1].mean()),
        "pooled_iou": float(ious[:, 1].mean()),
    }
