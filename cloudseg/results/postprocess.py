"""From probabilities to masks: a threshold and a smallest area for each class, chosen on images they are not judged on.

A speck of a pattern that is not in the image costs a whole point of the pair's score, so what is small is dropped.
Everything here works on pixel counts (image, class, threshold, 3), so no map is kept.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from cloudseg.nets import scores

THRESHOLDS = tuple(round(0.20 + 0.05 * i, 2) for i in range(13))
"""Candidates for the probability above which a pixel is in the mask: 0.20 to 0.80."""
AREAS = (0, 500, 1000, 2000, 4000, 6000, 8000, 12000, 16000, 20000, 25000)
"""Candidates for the smallest area a class must cover in an image, in pixels at 350x525."""


@dataclasses.dataclass(frozen=True)
class Choice:
    threshold: int
    """Index into THRESHOLDS."""
    area: int
    """Pixels at 350x525, all of the class in the image together."""


def apply(counts: np.ndarray, choices: list[Choice]) -> np.ndarray:
    """Counts (n, C, T, 3) -> counts (n, C, 3) of the masks that one choice per class gives."""
    picked = np.stack([counts[:, c, choice.threshold] for c, choice in enumerate(choices)], axis=1)
    return drop_small(picked, np.array([choice.area for choice in choices]))


def drop_small(counts: np.ndarray, area: np.ndarray | int) -> np.ndarray:
    """Counts (..., 3) with predictions of fewer than `area` pixels made empty."""
    small = counts[..., 1] < area
    out = counts.copy()
    out[..., 0][small] = 0
    out[..., 1][small] = 0
    return out


def tune(counts: np.ndarray) -> list[Choice]:
    """For each class the pair of threshold and area with the best mean Dice over counts (n, C, T, 3).

    All pairs are tried; of equals the one nearest to threshold 0.5, then the smaller area.
    """
    choices = []
    for c in range(counts.shape[1]):
        table = np.stack([scores.dice(drop_small(counts[:, c], area)).mean(axis=0) for area in AREAS])
        order = sorted(
            np.ndindex(table.shape),
            key=lambda at: (-round(table[at], 12), abs(THRESHOLDS[at[1]] - 0.5), AREAS[at[0]]),
        )
        choices.append(Choice(threshold=order[0][1], area=AREAS[order[0][0]]))
    return choices


def cross_tuned(counts: np.ndarray) -> np.ndarray:
    """Counts (n, C, 3) in which each half of the images (even, odd) is cut by what the other half chose."""
    out = np.empty((*counts.shape[:2], 3), counts.dtype)
    for half in (0, 1):
        out[half::2] = apply(counts[half::2], tune(counts[1 - half :: 2]))
    return out
