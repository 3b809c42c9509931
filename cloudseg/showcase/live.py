"""Scores of one image and of all images for rules that the user changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cloudseg.data.bitmask import has_data, unpack
from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.nets import scores
from cloudseg.results import postprocess
from cloudseg.results.postprocess import Rule

MEMORY = 768_000_000
"""Maximum bytes of probabilities and ground truth in the cache; other images are read from disk each time."""
CHUNK = 32
"""Images between two progress updates."""

Read = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Image number -> probabilities, uint8 (C, h, w), 255 for 1, and packed ground truth, uint8 (h, w)."""


def dice(predicted: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Dice per class of one image, float64 (C,), from masks, bool (C, h, w), and packed ground truth, uint8 (h, w)."""
    return np.array([_dice(mask, truth) for mask, truth in zip(predicted, unpack(bits), strict=True)])


class Means:
    """Mean Dice of each class over many images for any rules, with a cache of images and of results."""

    def __init__(self, read: Read, images: int, memory: int = MEMORY, presence: np.ndarray | None = None) -> None:
        """`presence`, float32 (n, C), are the probabilities of the presence head; None without it."""
        self._read, self._images, self._presence = read, images, presence
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._free = memory
        self._means: dict[tuple[int, Rule], float] = {}

    def known(self, rules: Sequence[Rule]) -> bool:
        """Whether the means of these rules are computed."""
        return all(key in self._means for key in enumerate(rules))

    def of(self, rules: Sequence[Rule]) -> np.ndarray:
        """Mean Dice of each class, float64 (C,), for rules whose means are computed."""
        return np.array([self._means[key] for key in enumerate(rules)])

    def compute(self, rules: Sequence[Rule]) -> Iterator[float]:
        """Compute the missing means, and yield the share of finished images. It may be abandoned at any time."""
        wanted = [(c, rule) for c, rule in enumerate(rules) if (c, rule) not in self._means]

        def score(i: int) -> list[float]:
            probability, bits = self._get(i)
            masks = (
                postprocess.mask(probability[c], rule, None if self._presence is None else self._presence[i, c])
                for c, rule in wanted
            )
            return [
                _dice(mask & has_data(bits), bits >> c & 1 == 1) for mask, (c, _) in zip(masks, wanted, strict=True)
            ]

        scored: list[list[float]] = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for first in range(0, self._images, CHUNK):
                scored += pool.map(score, range(first, min(first + CHUNK, self._images)))
                yield len(scored) / self._images
        for key, mean in zip(wanted, np.mean(scored, axis=0), strict=True):
            self._means[key] = float(mean)

    def _get(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        image = self._cache.get(i)
        if image is None:
            image = self._read(i)
            size = sum(part.nbytes for part in image)
            if self._free >= size:
                self._free -= size
                self._cache[i] = image
        return image


def percent(pixels: int | np.integer) -> str:
    """Format a number of pixels at 350x525 as a percentage of the image."""
    return f"{pixels / (TRUTH_SIZE[0] * TRUTH_SIZE[1]):.1%}"


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    counts = np.count_nonzero(mask & truth), np.count_nonzero(mask), np.count_nonzero(truth)
    return float(scores.dice(np.array(counts)))
