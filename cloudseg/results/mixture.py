"""Chooses the weights of an ensemble: those with which the mean probability is the most likely to give the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from cloudseg.data.bitmask import has_data, unpack

SAMPLED = 2_000_000
"""Number of pairs of pixel and class that decide, about, of all images together."""
STEPS, TOLERANCE = 1000, 1e-5
"""Limits of the iteration: its number of steps, and the change of a weight below which it ends."""

Read = Callable[[int], tuple[Sequence[np.ndarray], np.ndarray]]
"""Image number -> probabilities by each of K runs, uint8 (C, h, w), 255 for 1, and packed truth, uint8 (h, w)."""


def choose(read: Read, images: int) -> tuple[float, ...]:
    """Weight of each of K runs, to two decimals, at least 0.01, with the sum 1.

    The images must be such on which no run was trained. No-data pixels do not count.
    """
    drawn = [_likelihoods(*read(number), images) for number in range(images)]
    fitted = np.maximum(np.round(fit(np.concatenate(drawn, axis=1)), 2), 0.01)
    fitted[np.argmax(fitted)] += 1 - fitted.sum()
    return tuple(round(float(weight), 2) for weight in fitted)


def fit(likelihoods: np.ndarray) -> np.ndarray:
    """Weights of the mixture with the highest likelihood, float64 (K,), of sum 1.

    `likelihoods`, float32 (K, n) above 0: probability that each of K runs gives to the truth of n observations. The
    likelihood of a mixture has one maximum; expectation maximization finds it from equal weights (Dempster, Laird and
    Rubin 1977, section 4.3).
    """
    weights = np.full(len(likelihoods), 1 / len(likelihoods))
    for _ in range(STEPS):
        shares = weights[:, None].astype(np.float32) * likelihoods
        new = (shares / shares.sum(axis=0)).mean(axis=1, dtype=np.float64)
        if np.abs(new - weights).max() < TOLERANCE:
            return new
        weights = new
    return weights


def _likelihoods(probabilities: Sequence[np.ndarray], bits: np.ndarray, images: int) -> np.ndarray:
    """Probability that each run gives to the truth of some pixels, on a grid: float32 (K, pixels)."""
    classes, height, width = probabilities[0].shape
    stride = max(1, math.ceil(math.sqrt(classes * height * width * images / SAMPLED)))
    grid = np.s_[..., stride // 2 :: stride, stride // 2 :: stride]
    truth = unpack(bits[grid])[:classes][:, has_data(bits[grid])]
    chances = np.stack([each[grid][:, has_data(bits[grid])] for each in probabilities]).astype(np.float32)
    chances = np.clip(chances / 255, 1 / 510, 1 - 1 / 510)  # 0 and 255 stand for half a step, not for certainty
    return np.where(truth, chances, 1 - chances).reshape(len(probabilities), -1)
