"""Connected components of predicted masks: their areas and their overlap with the ground truth, for the rule search.

Pixels that touch at a corner are connected. Components are found from the runs of pixels in the rows of a mask, which
are far fewer than its pixels, for all thresholds at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from cloudseg.data.bitmask import unpack


@dataclasses.dataclass(frozen=True)
class Components:
    """The k components of one class in n images, at one threshold."""

    image: np.ndarray
    """int32 (k,): index of the component's image, ascending."""
    area: np.ndarray
    """int32 (k,): pixels, descending within an image."""
    hits: np.ndarray
    """int32 (k,): pixels that are in the ground truth too."""
    mass: np.ndarray
    """int32 (k,): sum of the probabilities of the pixels, 255 for 1."""
    truth: np.ndarray
    """int64 (n,): pixels of the ground truth of each image."""
    peak: np.ndarray
    """uint8 (n,): highest probability of each image, 255 for 1."""
    image_mass: np.ndarray
    """int64 (n,): sum of the probabilities of all pixels of each image, 255 for 1."""
    presence: np.ndarray | None
    """float64 (n,): probability of the presence head; None without it."""


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Areas, descending, hits and masses of the components of one image and class, each int32 (k,)."""


def split(probability: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]) -> list[Parts]:
    """Components of one image and class, for each threshold.

    probability uint8 (h, w), 255 for 1; truth bool (h, w); thresholds ascending. A pixel is predicted if its
    probability is above the threshold.
    """
    width = probability.shape[1] + 2  # with a column of zeros on both sides, a run of pixels ends in its row
    exceeded = np.searchsorted([level(threshold) for threshold in thresholds], np.arange(256)).astype(np.uint8)
    pixels = _with_margins(probability)
    number = cv2.LUT(pixels, exceeded).reshape(-1)
    """Number of thresholds that each pixel exceeds."""
    runs = _find_runs(number)
    root = _roots(runs, width)
    component = np.flatnonzero(root == np.arange(len(root)))

    def sums(lengths: np.ndarray) -> np.ndarray:
        """Sum over the runs of each component."""
        return np.bincount(root, lengths, len(root))[component].astype(np.int32)

    area = sums(runs.end - runs.start)
    hits, mass = (
        sums(before[runs.end] - before[runs.start]) for before in map(_sums_before, (_with_margins(truth), pixels))
    )
    order = np.lexsort((-area, runs.threshold[component]))
    bounds = np.searchsorted(runs.threshold[component], np.arange(1, len(thresholds)))
    return list(zip(*(np.split(values[order], bounds) for values in (area, hits, mass)), strict=True))


def drop_small(mask: np.ndarray, min_area: int) -> np.ndarray:
    """`mask`, bool (h, w), without the components of fewer than `min_area` pixels."""
    number = _with_margins(mask)
    runs = _find_runs(number.reshape(-1))
    root = _roots(runs, number.shape[1])
    length = runs.end - runs.start
    small = np.bincount(root, length, len(root))[root] < min_area
    run, offset = _ranges(length[small])
    number.reshape(-1)[runs.start[small][run] + offset] = 0
    return number[:, 1:-1].view(bool)


@dataclasses.dataclass(frozen=True)
class _Runs:
    """Runs of predicted pixels within a row, at all thresholds, in the order of thresholds and pixels. int64 (r,)."""

    threshold: np.ndarray
    """Index of the threshold."""
    start: np.ndarray
    """First pixel."""
    end: np.ndarray
    """Pixel after the last one."""


def _find_runs(number: np.ndarray) -> _Runs:
    """Runs of pixels that exceed each threshold; `number`, uint8 (pixels,): thresholds that each pixel exceeds."""
    change = np.flatnonzero(number[1:] != number[:-1]) + 1
    before, after = number[change - 1].astype(np.int64), number[change].astype(np.int64)

    def crossings(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds from `low` up to `high`, exclusive, of each change, and its pixel; in the order of thresholds."""
        owner, offset = _ranges(np.maximum(high - low, 0))
        threshold = low[owner] + offset
        order = np.argsort(threshold.astype(np.uint8), kind="stable")  # of uint8: in linear time
        return threshold[order], change[owner[order]]

    threshold, start = crossings(before, after)
    return _Runs(threshold, start, crossings(after, before)[1])


def _roots(runs: _Runs, width: int) -> np.ndarray:
    """For each run the first run of its component, int64 (r,). `width` is the length of a row.

    A run is connected with the runs of the next row that touch it, also at a corner. Runs start as components of their
    own; then each component joins the earliest of those that it touches, until none is left to join (Shiloach and
    Vishkin 1982).
    """
    size = int(runs.end.max(initial=0)) + 2 * width
    first, last = runs.threshold * size + runs.start, runs.threshold * size + runs.end
    touching = np.searchsorted(last, first + width)
    upper, offset = _ranges(np.searchsorted(first, last + width, side="right") - touching)
    lower = touching[upper] + offset
    root = np.arange(len(first))
    while len(upper):
        one, other = root[upper], root[lower]
        apart = one != other
        upper, lower = upper[apart], lower[apart]
        np.minimum.at(root, np.maximum(one, other)[apart], np.minimum(one, other)[apart])
        while np.any((grandparent := root[root]) != root):
            root = grandparent
    return root


def _ranges(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For ranges of `lengths`, one after the other: index of the range, and offset in it, of each element."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return owner, np.arange(len(owner)) - (np.cumsum(lengths) - lengths)[owner]


def _with_margins(pixels: np.ndarray) -> np.ndarray:
    """`pixels`, bool or uint8 (h, w), with a column of zeros on both sides: uint8 (h, w + 2)."""
    return cv2.copyMakeBorder(pixels.view(np.uint8), 0, 0, 1, 1, cv2.BORDER_CONSTANT, value=0)


def _sums_before(pixels: np.ndarray) -> np.ndarray:
    """Sum of the pixels, uint8 (h, w), before each pixel, and of all: int32 (h * w + 1,)."""
    return cv2.integral(pixels.reshape(1, -1))[1]


def collect(
    read: Callable[[int], tuple[np.ndarray, np.ndarray]],
    images: int,
    thresholds: Sequence[float],
    threads: int,
    presence: np.ndarray | None = None,
) -> list[list[Components]]:
    """Components of every class at every threshold, in one pass over the images: a list (C, thresholds).

    `read` returns for image i the probabilities, uint8 (C, h, w), 255 for 1, and the packed ground truth, uint8 (h, w).
    `presence`, float32 (n, C), are the probabilities of the presence head.
    """

    def split_image(i: int) -> list[tuple[list[Parts], int, np.uint8, float]]:
        probabilities, truth = read(i)
        return [
            (split(each, mask, thresholds), np.count_nonzero(mask), each.max(), cv2.sumElems(each)[0])
            for each, mask in zip(probabilities, unpack(truth)[: len(probabilities)], strict=True)
        ]

    with ThreadPoolExecutor(threads) as pool:  # OpenCV and numpy release the interpreter lock
        per_image = list(pool.map(split_image, range(images)))
    out = []
    for c, of_class in enumerate(zip(*per_image, strict=True)):
        parts, truth, peak, mass = zip(*of_class, strict=True)
        per_class = np.array(truth, np.int64), np.array(peak, np.uint8), np.array(mass, np.int64)
        chance = None if presence is None else presence[:, c].astype(np.float64)
        out.append([Components(_owners(at), *_join(at), *per_class, chance) for at in zip(*parts, strict=True)])
    return out


def _owners(parts: Sequence[Parts]) -> np.ndarray:
    """Index of the image of each component of several images, int32 (k,)."""
    return np.repeat(np.arange(len(parts), dtype=np.int32), [len(area) for area, *_ in parts])


def _join(parts: Sequence[Parts]) -> Parts:
    """The components of several images, one after the other."""
    area, hits, mass = (np.concatenate([np.empty(0, np.int32), *each]) for each in zip(*parts, strict=True))
    return area, hits, mass


def level(threshold: float) -> int:
    """Convert a threshold on probabilities, 0 to 1, to one on uint8 with 255 for 1."""
    return int(np.floor(threshold * 255))
