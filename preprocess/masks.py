"""Runs -> mask bits at the sizes that are stored, by exact area average, without the full-size mask."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from cloudseg.data import rle
from cloudseg.data.labels import NO_DATA, SOURCE_SIZE


def mask_bits(classes: Iterable[rle.Runs], band: np.ndarray, sizes: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    """The mask of an image at each of `sizes` (height, width): uint8 (height, width) of bits as in `labels`.

    `classes` are the runs of each class on SOURCE_SIZE; `band` is uint8 (700, 1050), 1 where there is no data.
    A class is there where it covers, outside the band, at least half of a pixel; no pixel of the band carries a
    class.
    """
    black = band_runs(band)
    bits = [np.zeros(size, np.uint8) for size in sizes]
    for i, runs in enumerate(classes):
        seen = rle.subtract(runs, black)
        for stored in bits:
            _set(stored, seen, 1 << i)
    for stored in bits:
        _set(stored, black, NO_DATA)
        stored[stored >= NO_DATA] = NO_DATA  # band and class may both cover exactly one half
    return bits


def _set(stored: np.ndarray, runs: rle.Runs, bit: int) -> None:
    """Add a bit to the pixels that the runs cover by at least half; whole numbers make exactly one half count at
    every size, where floating-point averages (OpenCV's among them) may fall on either side of it."""
    if len(runs.starts):
        area, where = covered(runs, stored.shape)
        half = np.greater_equal(area.T, SOURCE_SIZE[0] * SOURCE_SIZE[1] // 2)
        stored[where] |= cv2.transpose(half.view(np.uint8)) * np.uint8(bit)


def band_runs(band: np.ndarray) -> rle.Runs:
    """A band at half size, uint8 (700, 1050) of 0 and 1, as runs on SOURCE_SIZE."""
    height = SOURCE_SIZE[0]
    left, top, wide, tall = cv2.boundingRect(band)
    if not wide:
        return rle.Runs.none()
    # A row of zeros above and below, so that no run goes on from column to column.
    box = cv2.transpose(band[top : top + tall, left : left + wide])
    columns = cv2.copyMakeBorder(box, 0, 0, 1, 1, cv2.BORDER_CONSTANT, value=0)
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), tall + 1)
    first = 2 * ((column + left) * height + row + top)
    starts, ends = (np.concatenate((side, side + height)) for side in (first[::2], first[1::2]))
    order = np.argsort(starts)
    return rle.Runs(starts[order], ends[order])


def covered(runs: rle.Runs, size: tuple[int, ...]) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Covered area of the pixels of an image of `size` (height, width), at most SOURCE_SIZE, and where in the image
    they lie: all others are not covered. int64, in units that make a whole pixel 1400 * 2100.

    In a column of the source, a run is everything from its start downwards less everything from its end
    downwards. "Everything from here downwards" covers a part of one pixel of the result and all of those below:
    two steps, if one sums from the top. So a run costs a few steps however long it is, and the sums are made once
    for all runs.
    """
    (height, width), (rows, columns) = SOURCE_SIZE, size
    column, row, sign = _edges(runs, height)
    # Scaled so that a source pixel is `rows` high and `columns` wide, and a pixel of the result 1400 and 2100.
    above, inside = np.divmod(row * rows, height)
    left, offset = np.divmod(column * columns, width)
    first = np.minimum(width - offset, columns)  # of the source column's width, what falls into pixel `left`
    top, bottom, west, east = above.min(), above.max() + 2, left.min(), left.max() + 2
    # Column by column, as sums are made along them.
    tall = bottom - top
    cell = (left - west) * tall + above - top
    cells = np.concatenate((cell, cell + 1, cell + tall, cell + tall + 1))
    part, rest = sign * (height - inside), sign * inside
    steps = np.concatenate((part * first, rest * first, part * (columns - first), rest * (columns - first)))
    sums = np.bincount(cells, steps, minlength=(east - west) * tall).astype(np.int64).reshape(east - west, tall)
    # What lies beyond the image, or below the last end, are steps of size zero.
    box = slice(top, min(bottom - 1, rows)), slice(west, min(east, columns))
    return sums[: box[1].stop - west, : box[0].stop - top].cumsum(axis=1).T, box


def _edges(runs: rle.Runs, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row (0 to `height`) and sign (+1 or -1) of the starts and the ends of runs, those that go on from one
    column to the next cut up into columns."""
    starts, ends = runs
    columns = (ends - 1) // height - starts // height + 1
    if (columns > 1).any():
        run = np.repeat(np.arange(len(starts)), columns)
        nth = np.arange(len(run)) - np.repeat(np.cumsum(columns) - columns, columns)
        top = (starts[run] // height + nth) * height
        starts, ends = np.maximum(starts[run], top), np.minimum(ends[run], top + height)
    column = starts // height
    rows = np.concatenate((starts - column * height, ends - column * height))
    return np.tile(column, 2), rows, np.repeat((1, -1), len(starts))
