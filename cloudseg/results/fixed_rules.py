"""Scores masks that fixed rules cut, on images on which nothing is chosen."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cloudseg.data.bitmask import has_data, unpack
from cloudseg.results import components, postprocess, search
from cloudseg.results.postprocess import Rule
from cloudseg.results.scoring import Read, Scoring, surface

Masks = Callable[[int, np.ndarray], np.ndarray]
"""Image number and its probabilities, uint8 (C, h, w) -> its masks, bool (C, h, w)."""


def score(
    read: Read, masks: Masks, rules: Sequence[Rule], images: int, progressed: Callable[[], None] = lambda: None
) -> Scoring:
    """Score the masks of all images; `masks` cuts them by `rules`.

    There are two passes over the images: one for the surfaces, one for the masks. Calls `progressed` repeatedly.
    """
    threads = len(os.sched_getaffinity(0))

    def read_image(i: int) -> tuple[np.ndarray, np.ndarray]:
        progressed()
        return read(i)

    def count(i: int) -> tuple[np.ndarray, ...]:
        probability, bits = read_image(i)
        return _count_image(probability, bits, masks(i, probability))

    surfaces = [
        [surface(search.curve(at, Rule())) for at in of_class]
        for of_class in components.collect(read_image, images, search.THRESHOLDS, threads)
    ]
    with ThreadPoolExecutor(threads) as pool:
        tuned, untuned, overlap, histogram = map(np.stack, zip(*pool.map(count, range(images)), strict=True))
    same = list(rules)
    return Scoring(same, (same, same), tuned, untuned, overlap, histogram.sum(axis=0), np.array(surfaces))


def _count_image(probability: np.ndarray, bits: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of one image, `Scoring.tuned`, `untuned`, `overlap` and `histogram`."""
    truth, found = unpack(bits), found & has_data(bits)
    untuned = np.stack([postprocess.mask(each, Rule()) for each in probability])
    overlap = np.array([[np.count_nonzero(each & mask) for mask in found] for each in truth], np.int64)
    inside = np.stack([np.bincount(each[mask], minlength=256) for each, mask in zip(probability, truth, strict=True)])
    every = np.stack([np.bincount(each.reshape(-1), minlength=256) for each in probability])
    return _counts(found, truth), _counts(untuned, truth), overlap, np.stack([every - inside, inside], axis=1)


def _counts(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pixels in both, in `found` and in `truth`, bool (C, h, w) each: int64 (C, 3)."""
    return np.stack([each.sum(axis=(1, 2), dtype=np.int64) for each in (found & truth, found, truth)], axis=1)
