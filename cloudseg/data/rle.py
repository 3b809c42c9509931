"""Run-length masks as the competition writes them: column-major, 1-indexed, "start length start length
..."."""

from __future__ import annotations

import numpy as np

from cloudseg.errors import DataError


class RunsError(DataError, ValueError):
    """The text is not a run-length mask of an image of this size."""


def encode(mask: np.ndarray) -> str:
    """Runs of a mask.

    `mask` is bool (H, W). Pixel 1 is the top left one and pixel 2 is the one below it. Runs come out ordered,
    disjoint and as long as possible; a mask with no true pixel is the empty string. Raises ValueError for
    anything but a two-dimensional bool array.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"a mask is a bool array (H, W), not {mask.dtype} {mask.shape}")
    flat = np.zeros(mask.size + 2, bool)
    flat[1:-1] = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.column_stack((edges[::2] + 1, edges[1::2] - edges[::2]))
    return " ".join(map(str, runs.ravel().tolist()))


def decode(runs: str, height: int, width: int) -> np.ndarray:
    """The mask, bool (height, width), that `encode` wrote as `runs`; no true pixel for an empty or blank
    string.

    The array is in column-major (Fortran) order, which is the order of the runs. Runs may touch each other.
    Raises RunsError, whose text names the first offending run, if the numbers do not come in pairs, are not
    positive integers, leave the image, overlap or are not in ascending order.
    """
    starts, lengths = _parse(runs, height * width)
    ends = starts + lengths
    stretches = np.zeros(2 * len(starts) + 1, np.int64)
    stretches[0:-1:2] = starts - np.concatenate(([0], ends[:-1]))
    stretches[1::2] = lengths
    stretches[-1] = height * width - (ends[-1] if len(ends) else 0)
    flat = np.repeat(np.arange(len(stretches)) % 2 == 1, stretches)
    return flat.reshape(width, height).T


def _parse(runs: str, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts (0-indexed) and lengths, int64 (n,), checked against an image of so many pixels."""
    words = runs.split()
    if not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        wrong = next(word for word in words if not (word.isascii() and word.isdigit() and len(word) < 19))
        raise RunsError(f"{_shown(wrong)} is not a positive integer")
    if len(words) % 2:
        raise RunsError(f"{len(words)} numbers: runs are pairs of start and length, the last one has no length")
    numbers = np.array(words, dtype=np.int64).reshape(-1, 2)
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    _refuse(starts < 0, numbers, "starts at 0: the first pixel is number 1")
    _refuse(lengths < 1, numbers, "has no length")
    _refuse((starts >= pixels) | (lengths > pixels - starts), numbers, f"leaves the image of {pixels} pixels")
    before = np.concatenate(([0], starts[:-1] + lengths[:-1])) if len(starts) else starts
    _refuse(starts < before, numbers, "overlaps the run before it or comes out of order")
    return starts, lengths


def _refuse(wrong: np.ndarray, numbers: np.ndarray, reason: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        start, length = numbers[first].tolist()
        raise RunsError(f'run {first + 1} ("{start} {length}") {reason}')


def _shown(word: str) -> str:
    return repr(word if len(word) <= 20 else word[:17] + "...")
