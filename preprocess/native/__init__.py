"""The compiled loops beside this file, on numpy arrays. env/setup.sh compiles them."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from cloudseg.core.errors import CloudsegError
from cloudseg.data import rle

FOLDER = Path(__file__).parent
LIBRARY = Path(sys.prefix) / "lib" / "libcloudseg-native.so"
"""Where env/setup.sh puts it."""

_WHOLE, _ARRAY = ctypes.c_int, ctypes.c_void_p
_ARGUMENTS = {
    "area_average": (_ARRAY, _WHOLE, _WHOLE, _ARRAY, _WHOLE, _WHOLE),
    "mask_bits": (*[_ARRAY] * 3, _WHOLE, _ARRAY, _WHOLE, _WHOLE, _ARRAY, _WHOLE, _WHOLE, ctypes.c_uint8),
}


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The library, if it is that of the source here. Raises CloudsegError if it is missing, old or for another
    machine."""
    try:
        compiled = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise CloudsegError(f"the compiled part of preprocess cannot be used ({error}): run env/setup.sh") from error
    compiled.source_sha256.restype = ctypes.c_char_p
    if compiled.source_sha256().decode() != source_sha256():
        raise CloudsegError(f"{LIBRARY} was compiled from another version of {FOLDER}: run env/setup.sh")
    for name, arguments in _ARGUMENTS.items():
        getattr(compiled, name).argtypes = arguments
    return compiled


def source_sha256() -> str:
    """Of the .cpp and .h files here, one after the other in the order of their names."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in (".cpp", ".h"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def area_average(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image, uint8 (H, W, 3), at `size` (height, width), not larger: the mean of the area that each pixel covers,
    rounded."""
    image = np.ascontiguousarray(image)
    small = np.empty((*size, 3), np.uint8)
    library().area_average(image.ctypes.data, *image.shape[:2], small.ctypes.data, *size)
    return small


def mask_bits(
    classes: Sequence[rle.Runs], band: np.ndarray, source: tuple[int, int], size: tuple[int, int], no_data: int
) -> np.ndarray:
    """uint8 `size` (height, width): bit i where the runs of class i, on an image of size `source`, cover outside the
    band at least one half of a pixel, and `no_data` alone where the band does.

    `band` is uint8, half of `source`, 1 where there is no data. `size` is not larger than `source`.
    """
    starts, ends = (np.concatenate(side, dtype=np.int64) for side in zip(*classes, strict=True))
    counts = np.cumsum([len(runs.starts) for runs in classes], dtype=np.int64)
    band, stored = np.ascontiguousarray(band), np.zeros(size, np.uint8)
    runs = (array.ctypes.data for array in (starts, ends, counts))
    library().mask_bits(*runs, len(classes), band.ctypes.data, *source, stored.ctypes.data, *size, no_data)
    return stored
