"""CutMix (Yun et al. 2019): a rectangle of another training sample replaces that of an image and its mask.

Partner and rectangle depend only on (seed, epoch, sample), so they are equal on any number of ranks and after a resume.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cloudseg.data.sample_order import CUTMIX

PROBABILITY = 0.5
"""Share of the samples that receive a rectangle; 0.5 for CIFAR-100 in the authors' code (clovaai/CutMix-PyTorch)."""


class Patch(NamedTuple):
    """The rectangle `rows` x `columns` of the sample `partner`; it is pasted at the same place."""

    partner: int
    rows: slice
    columns: slice


def draw(partners: np.ndarray, size: tuple[int, int], seed: int, epoch: int, sample: int) -> Patch | None:
    """Draw the rectangle for `sample`, or None for no rectangle.

    `partners`: numbers of the samples to choose from, int (n,); `sample` itself is not chosen. `size`: height and width
    of the images in pixels. The rectangle covers the share 1 - lambda of the image with lambda from Beta(1, 1), which
    is uniform; it has the image's aspect ratio, a uniform centre, and is cut off at the border (Yun et al. 2019,
    equation 2; centred as in the authors' code).
    """
    random = np.random.default_rng(np.random.SeedSequence((seed, epoch, sample), spawn_key=(CUTMIX,)))
    others = partners[partners != sample]
    if not len(others) or random.random() >= PROBABILITY:
        return None
    side = math.sqrt(random.random())
    rows, columns = (_span(length, side, random.random()) for length in size)
    return Patch(int(random.choice(others)), rows, columns)


def paste(array: np.ndarray, partner: np.ndarray, patch: Patch) -> np.ndarray:
    """A copy of `array`, image or mask of shape (H, W, ...), with the rectangle of `partner`, of the same shape."""
    out = array.copy()
    out[patch.rows, patch.columns] = partner[patch.rows, patch.columns]
    return out


def _span(length: int, share: float, centre: float) -> slice:
    """Pixels of a side of `length` that a part of `share` (0 to 1) around `centre` (0 to 1) covers."""
    first, last = (round(length * (centre + sign * share / 2)) for sign in (-1, 1))
    return slice(max(first, 0), min(last, length))
