"""Run-length masks -> mask bits at the sizes that are stored, by exact area average."""

from __future__ import annotations

import cv2
import numpy as np

from cloudseg.data import rle
from cloudseg.data.labels import CLASSES, NO_DATA, SOURCE_SIZE


def mask_bits(runs: tuple[str, ...], band: np.ndarray, sizes: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    """The mask of an image at each of `sizes` (height, width): uint8 (height, width) of bits as in `labels`.

    `runs` holds one run-length text per class, `band` is uint8 (700, 1050), 1 where there is no data. A class
    is there where it covers, outside the band, at least half of a pixel; no pixel of the band carries a
    class. Raises MaskError, which knows the class, for wrong runs.
    """
    seen = cv2.resize(1 - band, SOURCE_SIZE[::-1], interpolation=cv2.INTER_NEAREST)
    bits = [np.zeros(size, np.uint8) for size in sizes]
    for i, text in enumerate(runs):
        if not text:
            continue
        try:
            mask = rle.decode(text, *SOURCE_SIZE)
        except rle.RunsError as error:
            raise MaskError(i, str(error)) from error
        visible = cv2.bitwise_and(cv2.transpose(mask.T.view(np.uint8)), seen)
        for stored, covered in zip(bits, at_least_half(visible, sizes), strict=True):
            stored[covered] |= np.uint8(1 << i)
    for stored, empty in zip(bits, at_least_half(band, sizes), strict=True):
        stored[empty] = NO_DATA
    return bits


class MaskError(ValueError):
    """The runs of one class are wrong; `label` is its number in CLASSES."""

    def __init__(self, label: int, reason: str) -> None:
        super().__init__(label, reason)
        self.label = label
        self.reason = reason

    def __str__(self) -> str:
        return f"{CLASSES[self.label]}: {self.reason}"


def at_least_half(mask: np.ndarray, sizes: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    """Which pixels of an image the mask covers by at least half, for each size (height, width): bool (height,
    width).

    `mask` is uint8 (H, W) of 0 and 1. Computed in integers, so that exactly one half counts as such for every
    size: floating-point averages (OpenCV's among them) may fall on either side of it.
    """
    sums = cv2.integral(mask)
    return [2 * _areas(sums, height, width) >= mask.size for height, width in sizes]


def _areas(sums: np.ndarray, height: int, width: int) -> np.ndarray:
    """Covered area of each cell of a grid, int64 (height, width), in units that make a whole cell H * W.

    `sums` int32 (H + 1, W + 1) holds the area above and to the left of each corner of a pixel. From one
    corner to the next it is a straight line in each direction, so that corners of cells inside a pixel are
    interpolated exactly.
    """
    top, bottom, down = _edges(sums.shape[0] - 1, height)
    left, right, across = _edges(sums.shape[1] - 1, width)
    down = down[:, None]

    def at(columns: np.ndarray) -> np.ndarray:
        upper = sums[np.ix_(top, columns)].astype(np.int64)
        return upper * (height - down) + sums[np.ix_(bottom, columns)] * down if down.any() else upper * height

    corners = at(left) * (width - across) + at(right) * across if across.any() else at(left) * width
    return np.diff(np.diff(corners, axis=0), axis=1)


def _edges(pixels: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the edges of equal cells: the pixel corners before and after, and the way between them in 1/cells."""
    before, way = np.divmod(np.arange(cells + 1) * pixels, cells)
    return before, np.minimum(before + 1, pixels), way
