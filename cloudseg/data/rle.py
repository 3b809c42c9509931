"""Run-length masks in the competition's format: column-major, counted from 1, "start length start length ..."."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from cloudseg.core.errors import DataError

_WORD = re.compile(r"\S+", re.ASCII)
_DIGITS_AND_SPACE = b"0123456789 \t\n\v\f\r"


class Runs(NamedTuple):
    """Runs of true pixels, ascending and disjoint: int64 (n,) `starts` and `ends`, counted from 0 and half-open, in the
    flat column-major order of an image (position = column * height + row)."""

    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def none(cls) -> Runs:
        """The runs of an empty mask."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


class RunsError(DataError, ValueError):
    """The text is not a run-length mask of an image of this size."""


def encode(mask: np.ndarray) -> str:
    """Encode a mask, bool (H, W).

    Pixel 1 is the top left pixel, pixel 2 the one below it. Runs are ascending, disjoint and as long as possible; an
    empty mask is the empty string. Raises ValueError for anything but a two-dimensional bool array.
    """
    starts, ends = find(mask)
    return " ".join(map(str, np.column_stack((starts + 1, ends - starts)).ravel().tolist()))


def find(mask: np.ndarray) -> Runs:
    """Find the runs of a mask, bool (H, W); each is as long as possible. Raises ValueError for anything else."""
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"a mask is a bool array (H, W), not {mask.dtype} {mask.shape}")
    flat = np.zeros(mask.size + 2, bool)
    flat[1:-1] = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return Runs(edges[::2], edges[1::2])


def decode(runs: str, height: int, width: int) -> np.ndarray:
    """Decode runs into a mask, bool (height, width); an empty or blank string is an empty mask.

    The array is in column-major (Fortran) order, as the runs are. Runs may touch each other. Raises RunsError as
    `parse` does.
    """
    return _mask(parse(runs, height * width), height, width)


def _mask(runs: Runs, height: int, width: int) -> np.ndarray:
    starts, ends = runs
    borders = np.zeros(2 * len(starts) + 2, np.int64)
    borders[1:-1:2], borders[2:-1:2], borders[-1] = starts, ends, height * width
    flat = np.repeat(np.arange(len(borders) - 1) % 2 == 1, np.diff(borders))
    return flat.reshape(width, height).T


def resized(runs: Runs, size: tuple[int, int], to: tuple[int, int]) -> Runs:
    """Resize runs of a mask of `size` (height, width) to the size `to`, by nearest neighbour."""
    if size == to or not len(runs.starts):
        return runs
    rows, columns = (np.arange(new) * old // new for old, new in zip(size, to, strict=True))
    return find(_mask(runs, *size)[np.ix_(rows, columns)])


def parse(text: str, pixels: int) -> Runs:
    """Parse runs, and check them for an image of `pixels` pixels.

    Raises RunsError, which names the first wrong run, if the numbers are not pairs of positive integers, or if runs
    leave the image, overlap or are not ascending.
    """
    if text.encode(errors="replace").translate(None, delete=_DIGITS_AND_SPACE):
        wrong = next(word for word in _WORD.findall(text) if not (word.isascii() and word.isdigit()))
        raise RunsError(f"{_shortened(wrong)} is not a positive integer")
    # A number that exceeds 64 bits becomes the largest int64, which is outside every image.
    numbers = np.fromstring(text.strip(), np.int64, sep=" ")
    if len(numbers) % 2:
        raise RunsError(f"{len(numbers)} numbers: runs are pairs of start and length, the last one has no length")
    numbers = numbers.reshape(-1, 2)
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    _check(starts < 0, numbers, "starts at 0: the first pixel is number 1")
    _check(lengths < 1, numbers, "has no length")
    _check((starts >= pixels) | (lengths > pixels - starts), numbers, f"leaves the image of {pixels} pixels")
    ends = starts + lengths
    _check(starts < np.concatenate(([0], ends[:-1])), numbers, "overlaps the run before it or is out of order")
    return Runs(starts, ends)


def _check(wrong: np.ndarray, numbers: np.ndarray, reason: str) -> None:
    """Raises RunsError with `reason` for the first run that is `wrong`, bool (n,)."""
    if wrong.any():
        first = int(np.argmax(wrong))
        start, length = numbers[first].tolist()
        raise RunsError(f'run {first + 1} ("{start} {length}") {reason}')


def _shortened(word: str) -> str:
    return repr(word if len(word) <= 20 else word[:17] + "...")
