"""Scores under rules as they change: of one image, and of all."""

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
"""Bytes of probabilities and truths that are kept; others are read from disk each time."""
ROUND = 32
"""Images between two signs of progress."""

Read = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Of image i: probabilities uint8 (C, h, w), 255 for 1, and truth, uint8 bits (h, w)."""


def dice(predicted: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Of one image, float64 (C,), from masks bool (C, h, w) and the truth, uint8 bits (h, w)."""
    return np.array([_dice(mask, truth) for mask, truth in zip(predicted, unpack(bits), strict=True)])


class Means:
    """The mean Dice of each class over many images, under any rules; what was computed once is known."""

    def __init__(self, read: Read, images: int, memory: int = MEMORY) -> None:
        self._read, self._images = read, images
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._room = memory
        self._known: dict[tuple[int, Rule], float] = {}

    def known(self, rules: Sequence[Rule]) -> bool:
        """Whether `compute` has gone through for these rules."""
        return all(key in self._known for key in enumerate(rules))

    def of(self, rules: Sequence[Rule]) -> np.ndarray:
        """float64 (C,), of rules that are known."""
        return np.array([self._known[key] for key in enumerate(rules)])

    def compute(self, rules: Sequence[Rule]) -> Iterator[float]:
        """Find the means that are not known; gives the share of the images that are done. May be left at any time."""
        wanted = [(c, rule) for c, rule in enumerate(rules) if (c, rule) not in self._known]

        def judge(i: int) -> list[float]:
            probability, bits = self._get(i)
            return [
                _dice(postprocess.mask(probability[c], rule) & has_data(bits), bits >> c & 1 == 1) for c, rule in wanted
            ]

        found: list[list[float]] = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for first in range(0, self._images, ROUND):
                found += pool.map(judge, range(first, min(first + ROUND, self._images)))
                yield len(found) / self._images
        for key, mean in zip(wanted, np.mean(found, axis=0), strict=True):
            self._known[key] = float(mean)

    def _get(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        kept = self._kept.get(i)
        if kept is None:
            kept = self._read(i)
            size = sum(part.nbytes for part in kept)
            if self._room >= size:
                self._room -= size
                self._kept[i] = kept
        return kept


def percent(pixels: int | np.integer) -> str:
    """An area as a share of the image."""
    return f"{pixels / (TRUTH_SIZE[0] * TRUTH_SIZE[1]):.1%}"


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    counts = np.count_nonzero(mask & truth), np.count_nonzero(mask), np.count_nonzero(truth)
    return float(scores.dice(np.array(counts)))
