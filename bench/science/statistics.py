"""Means, intervals and paired differences of the results of a matrix. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bench.science.trainings import Result
from cloudseg.results.scoring import interval


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over images and seeds."""

    value: float
    images: tuple[float, float]
    """95 % bootstrap interval over images, of the means over the seeds."""
    seeds: tuple[float, float]
    """Minimum and maximum over the seeds."""


def score(results: Sequence[Result], stage: int = -1) -> Mean:
    """Tuned Dice of one run with several seeds, after a stage, by position."""
    return _mean(_dice(results, stage))


def difference(first: Sequence[Result], second: Sequence[Result]) -> Mean:
    """Tuned Dice after the last stage of the first run minus that of the second, seed by seed and image by image."""
    if any(a.images != b.images for a, b in zip(first, second, strict=True)):
        raise ValueError("runs with different validation images cannot be compared image by image")
    return _mean(_dice(first, -1) - _dice(second, -1))


def _dice(results: Sequence[Result], stage: int) -> np.ndarray:
    """Float64 (seeds, images)."""
    return np.array([list(each.dice.values())[stage] for each in results])


def _mean(values: np.ndarray) -> Mean:
    low, high = interval(values.mean(axis=0))
    seeds = values.mean(axis=1)
    return Mean(float(values.mean()), (low, high), (float(seeds.min()), float(seeds.max())))
