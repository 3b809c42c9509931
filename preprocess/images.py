"""JPEG -> pixels, and which of those pixels are the black band."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from cloudseg.core.errors import CloudsegError
from cloudseg.data.labels import SOURCE_SIZE

HALF_SIZE = (SOURCE_SIZE[0] // 2, SOURCE_SIZE[1] // 2)
"""Height and width, in pixels, at which the black band is looked for, and from which smaller images are made."""
BLACK = 10
"""Brightest channel of a near-black pixel at half size. JPEG noise in the band stays below, dark ocean
is 20 to 40."""
MEAN_BLACK = 2.0
"""Mean of the brightest channel over a band, at most: real bands have 0.1 to 0.4."""
LEAST_BAND = 0.001
"""Smallest band, as a part of the image."""
MOST_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: a file of a few kB can ask for gigabytes."""
MOST_SCANS = 100
"""Progressive JPEGs have some ten scans; each one, even if empty, costs a pass over the whole image."""

JPEG = b"\xff\xd8"
"""How a JPEG file begins."""
_START_OF_SCAN = b"\xff\xda"
_PROGRESSIVE = b"\xff\xc2"
_START_OF_FRAME = tuple(bytes([marker]) for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
"""The other three are tables, and one that is reserved."""
_EXIF = b"Exif\0\0"
ORIENTATION = 0x0112
"""The EXIF tag."""


class ImageError(ValueError):
    """The file is not an image as the competition has them. The text says why."""


def too_deep(bits: int, kind: str | None = None) -> str:
    """The reason why an image of so many bits a colour is refused: which of its values are dark and which are bright
    only its owner knows."""
    return (
        f"has {f'{kind} ' if kind else ''}values of {bits} bits; 8 bits a colour are understood: convert it first, for "
        "example with gdal_translate -ot Byte -scale"
    )


def read_image(path: Path, half: bool, any_size: bool = False) -> np.ndarray:
    """The pixels of a JPEG file, as `decode_image` gives them. Raises as that and `read_file` do."""
    return decode_image(read_file(path), half, any_size)


def read_file(path: Path) -> bytes:
    """The bytes of an image. Raises ImageError if this file cannot be read, CloudsegError if the file system fails."""
    try:
        return path.read_bytes()
    except (PermissionError, FileNotFoundError, IsADirectoryError) as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    except OSError as error:
        raise CloudsegError(f"{path} cannot be read: {error.strerror}. Type the same command again") from error


def decode_image(data: bytes, half: bool, any_size: bool = False) -> np.ndarray:
    """The pixels of a JPEG file's bytes, uint8 (H, W, 3) RGB, upright as its EXIF orientation says.

    (H, W) is SOURCE_SIZE; with `half` it may be HALF_SIZE: libjpeg-turbo then computes the mean of 2x2 pixels inside
    the inverse DCT, which is faster. `any_size` lets images of other sizes through, as they are. Raises ImageError
    for what cannot be decoded without a complaint or has another size.
    """
    if not data.startswith(JPEG):
        raise ImageError("is not a JPEG file" if data else "is empty")
    if (bits := _precision(data)) > 8:
        raise ImageError(too_deep(bits))
    if _scans(data) > MOST_SCANS:
        raise ImageError(f"has more than {MOST_SCANS} scans")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if height * width > MOST_PIXELS:
            raise ImageError(f"is {width}x{height}, more than {MOST_PIXELS // 1_000_000} million pixels")
        turn = _orientation(data)
        _check_size((width, height) if turn > 4 else (height, width), any_size)
        least_height, least_width = HALF_SIZE if half and turn == 1 and (height, width) == SOURCE_SIZE else (0, 0)
        # Strict: what libjpeg only warns of is an image that is grey or shifted from there on.
        image = simplejpeg.decode_jpeg(data, "RGB", min_height=least_height, min_width=least_width, strict=True)
    except ImageError:
        raise
    except ValueError as error:
        raise ImageError(f"is damaged: {error}") from error
    return turned(image, turn)


def may_be_halved(size: tuple[int, int]) -> bool:
    """Whether an image that will be resized to `size` (height, width) may be decoded at half its size."""
    return size[0] <= HALF_SIZE[0] and size[1] <= HALF_SIZE[1]


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width of a JPEG file that can be decoded, as it is stored."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    return height, width


def _check_size(size: tuple[int, int], any_size: bool) -> None:
    height, width = size
    if size != SOURCE_SIZE and not any_size:
        raise ImageError(
            f"is {width}x{height} in place of {SOURCE_SIZE[1]}x{SOURCE_SIZE[0]} (--allow-resize, with a new folder as "
            "--out, takes it as it is)"
        )


def _scans(data: bytes) -> int:
    """Scans in a JPEG file, at most; looked for only where there may be several."""
    first = _first_scan(data)
    all_components = data[first : first + 2] == _START_OF_SCAN and data[first + 4 : first + 5] == b"\x03"
    return 1 if all_components and _PROGRESSIVE not in data[:first] else data.count(_START_OF_SCAN)


def _first_scan(data: bytes) -> int:
    """Where the first scan begins, or the first thing that is no segment."""
    *_, place = _segments(data)
    return place


def _precision(data: bytes) -> int:
    """Bits a sample, as the frame header says (ITU-T T.81, B.2.2); 8 if there is none."""
    headers = (place for place in _segments(data) if data[place + 1 : place + 2] in _START_OF_FRAME)
    return next((data[place + 4] for place in headers if place + 4 < len(data)), 8)


def _segments(data: bytes) -> Iterator[int]:
    """Where each segment before the first scan begins, and then where that does, or the first thing that is no
    segment."""
    place = 2
    while data[place : place + 1] == b"\xff" and data[place : place + 2] != _START_OF_SCAN and place + 4 <= len(data):
        yield place
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    yield place


def _orientation(data: bytes) -> int:
    """The EXIF orientation, 1 (upright) to 8. EXIF stands at the start of a file."""
    if _EXIF not in data[:0x10000]:
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow tells standard error of damaged EXIF
            value = Image.open(BytesIO(data), formats=("JPEG",)).getexif().get(ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 1
    return value if value in range(1, 9) else 1


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image, uint8, that is stored in this EXIF orientation, upright; itself if that is none from 2 to 8."""
    if orientation in (5, 6, 7, 8):
        image = cv2.transpose(image)
    # What is left to do is to mirror: left and right, top and bottom, or both.
    mirror = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return image if mirror is None else cv2.flip(image, mirror)


def black_band(half: np.ndarray) -> np.ndarray:
    """Where an image has no data: uint8 (700, 1050), 1 in the band, 0 elsewhere.

    `half` is uint8 (700, 1050, 3). The band is any area of near-black pixels that touches the border of the
    image, is large and is black through and through; lines drawn over it (coasts) belong to it. Specks and
    dark ocean do not.
    """
    red, green, blue = cv2.split(half)
    brightest = cv2.max(cv2.max(red, green), blue)
    _, near = cv2.threshold(brightest, BLACK, 255, cv2.THRESH_BINARY_INV)
    for operation in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):
        near = cv2.morphologyEx(near, operation, np.ones((5, 5), np.uint8))
    least = math.ceil(LEAST_BAND * near.shape[0] * near.shape[1])
    band = np.zeros(near.shape, np.uint8)
    for seed in _on_border(near):
        if not near[seed]:
            continue  # of an area that another seed has found
        pixels, _, _, (left, top, width, height) = cv2.floodFill(near, None, seed[::-1], 1, flags=4)
        box = np.s_[top : top + height, left : left + width]
        area = cv2.inRange(near[box], 1, 1)
        if pixels >= least:
            # Capped, so that a bright coast line in a band does not make it an ocean.
            _, capped = cv2.threshold(brightest[box], BLACK + 1, 0, cv2.THRESH_TRUNC)
            if cv2.sumElems(cv2.bitwise_and(capped, area))[0] <= MEAN_BLACK * pixels:
                band[box] |= area & 1
        near[box] &= ~area
    return band


def _on_border(mask: np.ndarray) -> list[tuple[int, int]]:
    """Row and column of the pixels on the border of a mask, (H, W), that are not 0; those of corners twice."""
    height, width = mask.shape
    rows = [(y, x) for y in (0, height - 1) for x in np.flatnonzero(mask[y]).tolist()]
    return rows + [(y, x) for x in (0, width - 1) for y in np.flatnonzero(mask[:, x]).tolist()]
