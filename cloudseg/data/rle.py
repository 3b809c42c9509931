"""Run-length masks as the competition writes them: column-major, 1-indexed, "start length start length
..."."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from cloudseg.core.errors import DataError

_WORD = re.compile(r"\S+", re.ASCII)
_DIGITS_AND_SPACE = b"0123456789 \t\n\v\f\r"


class Runs(NamedTuple):
    """Stretches of true pixels, in ascending order and disjoint: int64 (n,) `starts` and `ends`, 0-indexed and
    half open, in the flat column-major order of an image (position = column * height + row)."""

    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def none(cls) -> Runs:
        """No true pixel."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


class RunsError(DataError, ValueError):
    """The text is not a run-length mask of an image of this size."""


def encode(mask: np.ndarray) -> str:
    """Runs of a mask.

    `mask` is bool (H, W). Pixel 1 is the top left one and pixel 2 is the one below it. Runs come out ordered,
    disjoint and as long as possible; a mask with no true pixel is the empty string. Raises ValueError for
    anything but a two-dimensional bool array.
    """
    starts, ends = find(mask)
    return " ".join(map(str, np.column_stack((starts + 1, ends - starts)).ravel().tolist()))


def find(mask: np.ndarray) -> Runs:
    """The runs, as long as possible, of a bool mask (H, W). Raises ValueError for anything else."""
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"a mask is a bool array (H, W), not {mask.dtype} {mask.shape}")
    flat = np.zeros(mask.size + 2, bool)
    flat[1:-1] = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return Runs(edges[::2], edges[1::2])


def decode(runs: str, height: int, width: int) -> np.ndarray:
    """The mask, bool (height, width), that `encode` wrote as `runs`; no true pixel for an empty or blank
    string.

    The array is in column-major (Fortran) order, which is the order of the runs. Runs may touch each other.
    Raises RunsError as `parse` does.
    """
    return _mask(parse(runs, height * width), height, width)


def _mask(runs: Runs, height: int, width: int) -> np.ndarray:
    starts, ends = runs
    borders = np.zeros(2 * len(starts) + 2, np.int64)
    borders[1:-1:2], borders[2:-1:2], borders[-1] = starts, ends, height * width
    flat = np.repeat(np.arange(len(borders) - 1) % 2 == 1, np.diff(borders))
    return flat.reshape(width, height).T


def resized(runs: Runs, size: tuple[int, int], to: tuple[int, int]) -> Runs:
    """The runs of a mask of `size` (height, width) stretched to the size `to`, of which each pixel is the nearest one
    of the mask."""
    if size == to or not len(runs.starts):
        return runs
    rows, columns = (np.arange(new) * old // new for old, new in zip(size, to, strict=True))
    return find(_mask(runs, *size)[np.ix_(rows, columns)])


def parse(text: str, pixels: int) -> Runs:
    """The runs of a text, checked against an image of so many pixels.

    Raises RunsError, whose text names the first offending run, if the numbers do not come in pairs, are not
    positive integers, leave the image, overlap or are not in ascending order.
    """
    if text.encode(errors="replace").translate(None, delete=_DIGITS_AND_SPACE):
        wrong = next(word for word in _WORD.findall(text) if not (word.isascii() and word.isdigit()))
        raise RunsError(f"{_shown(wrong)} is not a positive integer")
    # What is too large for 64 bits becomes the largest number, which leaves every image.
    numbers = np.fromstring(text.strip(), np.int64, sep=" ")
    if len(numbers) % 2:
        raise RunsError(f"{len(numbers)} numbers: runs are pairs of start and length, the last one has no length")
    numbers = numbers.reshape(-1, 2)
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    _refuse(starts < 0, numbers, "starts at 0: the first pixel is number 1")
    _refuse(lengths < 1, numbers, "has no length")
    _refuse((starts >= pixels) | (lengths > pixels - starts), numbers, f"leaves the image of {pixels} pixels")
    ends = starts + lengths
    _refuse(starts < np.concatenate(([0], ends[:-1])), numbers, "overlaps the run before it or comes out of order")
    return Runs(starts, ends)


def _refuse(wrong: np.ndarray, numbers: np.ndarray, reason: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        start, length = numbers[first].tolist()
        raise RunsError(f'run {first + 1} ("{start} {length}") {reason}')


def _shown(word: str) -> str:
    return repr(word if len(word) <= 20 else word[:17] + "...")
