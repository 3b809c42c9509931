"""Decides by the expected Dice whether an image has a mask of a class. Pure.

The class is in the image with probability P. An empty mask has Dice 1 if it is not and 0 if it is, so its expected Dice
is 1 - P. A mask with pixels has Dice 0 if the class is not in the image, so its expected Dice is P D, where D is the
expected Dice if it is. The mask is better if P D > 1 - P.
"""

from __future__ import annotations

from typing import Any

import numpy as np

EPSILON = 0.5 / 255
"""Evidence is clipped to EPSILON from 0 and 1, half a level of a uint8, before its logit is taken."""
DIGITS = 6
"""Decimal digits of the fitted numbers, so that they are the same on every machine."""


def presence(evidence: Any, slope: float, intercept: float) -> Any:
    """P, float64: the calibrated probability that the class is in the image, 1 / (1 + exp(-(slope x + intercept))).

    x is the logit of `evidence`, 0 to 1, a number or an array. The logistic calibration of Platt 1999.
    """
    return _sigmoid(slope * _logit(evidence) + intercept)


def of_mask(presence: Any, inside: Any, total: Any, area: Any) -> Any:
    """D, float64: the expected Dice of a mask if the class is in the image; numbers or arrays.

    `presence` is P, above 0. `inside` and `total` are the sums of the probabilities of the pixels of the mask and of
    the whole image, in pixels; `area` is the number of pixels of the mask. A pixel is true only if the class is in the
    image, so its probability in that case is q = p / P. The expectation of the ratio is approximated by the ratio of
    the expectations, 2 sum_M q / (|M| + sum q). The sum over the mask is at most |M|, which bounds q where P is too low
    for the pixels' probabilities.
    """
    hits = np.minimum(inside / presence, area)
    truth = hits + (total - inside) / presence
    return 2 * hits / np.maximum(area + truth, EPSILON)


def is_better(presence: Any, inside: Any, total: Any, area: Any) -> Any:
    """Whether the mask has a higher expected Dice than an empty one; arguments as of `of_mask`."""
    return presence * of_mask(presence, inside, total, area) > 1 - presence


def fit(evidence: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """Fit slope and intercept of `presence` to images: evidence float (n,), 0 to 1; present bool (n,).

    Newton's method with step halving, and targets between 0 and 1 that keep both numbers finite (Platt 1999, in the
    form of Lin, Lin and Weng 2007, algorithm 1).
    """
    x, positives = _logit(evidence), int(np.count_nonzero(present))
    negatives = len(present) - positives
    target = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = 0.0, float(np.log((positives + 1) / (negatives + 1)))
    loss = _cross_entropy(slope * x + intercept, target)
    for _ in range(100):
        p = _sigmoid(slope * x + intercept)
        error, curvature = p - target, p * (1 - p)
        gradient = (error * x).sum(), error.sum()
        if max(map(abs, gradient)) < 1e-9:
            break
        # 1e-12: the matrix is regular also if all images have the same evidence.
        a, b, c = (curvature * x * x).sum() + 1e-12, (curvature * x).sum(), curvature.sum() + 1e-12
        determinant = a * c - b * b
        step = (c * gradient[0] - b * gradient[1]) / determinant, (a * gradient[1] - b * gradient[0]) / determinant
        size = 1.0
        while size > 1e-10:
            there = slope - size * step[0], intercept - size * step[1]
            loss_there = _cross_entropy(there[0] * x + there[1], target)
            if loss_there < loss:
                break
            size /= 2
        else:
            break
        (slope, intercept), loss = there, loss_there
    return round(float(slope), DIGITS), round(float(intercept), DIGITS)


def _logit(probability: Any) -> Any:
    clipped = np.clip(np.asarray(probability, np.float64), EPSILON, 1 - EPSILON)
    return np.log(clipped / (1 - clipped))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def _cross_entropy(x: np.ndarray, target: np.ndarray) -> float:
    """Sum of -t log p - (1 - t) log(1 - p), with p = sigmoid(x)."""
    return float((np.logaddexp(0, x) - target * x).sum())
