"""JPEG -> pixels, and which of those pixels are the black band."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from cloudseg.data.labels import SOURCE_SIZE

BLACK = 10
"""Brightest channel of a near-black pixel at half size. JPEG noise in the band stays below, dark ocean
is 20 to 40."""
MEAN_BLACK = 2.0
"""Mean of the brightest channel over a band, at most: real bands have 0.1 to 0.4."""
LEAST_BAND = 0.001
"""Smallest band, as a part of the image."""
_KERNEL = np.ones((5, 5), np.uint8)


class ImageError(ValueError):
    """The file is not an image as the competition has them. The text says why."""


def read_image(path: Path) -> np.ndarray:
    """The pixels of a JPEG file, uint8 (1400, 2100, 3) RGB, not turned by its EXIF orientation.

    Raises ImageError for a file that cannot be read or decoded without a complaint, or has another size.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    if not data.startswith(b"\xff\xd8"):
        raise ImageError("is not a JPEG file" if data else "is empty")
    # Inside a scan 0xff is never followed by 0xd9 or 0xda, so this finds the end of the image itself, not of
    # a preview.
    if data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0:
        raise ImageError("is truncated: the JPEG has no end marker")
    with _complaints() as complaints:
        image = _decode(data)
    if image is None:
        raise ImageError("cannot be decoded")
    if complaints:
        raise ImageError(f"is damaged: {complaints[0]}")
    if image.shape != (*SOURCE_SIZE, 3):
        raise ImageError(f"is {image.shape[1]}x{image.shape[0]} in place of {SOURCE_SIZE[1]}x{SOURCE_SIZE[0]}")
    return image


def _decode(data: bytes) -> np.ndarray | None:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Lines that a library writes to standard error meanwhile; the list fills at the end.

    OpenCV gives an image whatever libjpeg says about its data: a damaged one is grey or shifted from there
    on, and the only sign is a line which libjpeg prints by itself. Not for a process with other threads that
    print.
    """
    lines: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            lines += caught.read().decode(errors="replace").splitlines()


def black_band(image: np.ndarray) -> np.ndarray:
    """Where an image has no data, at half its size: uint8 (700, 1050), 1 in the band, 0 elsewhere.

    `image` is uint8 (1400, 2100, 3). The band is any area of near-black pixels that touches the border of the
    image, is large and is black through and through; lines drawn over it (coasts) belong to it. Specks and
    dark ocean do not.
    """
    half = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    brightest = cv2.max(cv2.max(half[..., 0], half[..., 1]), half[..., 2])
    joined = cv2.morphologyEx((brightest <= BLACK).astype(np.uint8), cv2.MORPH_CLOSE, _KERNEL)
    near = cv2.morphologyEx(joined, cv2.MORPH_OPEN, _KERNEL)
    count, areas, boxes, _ = cv2.connectedComponentsWithStats(near, connectivity=4)
    # Capped, so that a bright coast line in a band does not make it an ocean.
    capped = np.minimum(brightest, BLACK + 1)
    dark = np.bincount(areas[near > 0], weights=capped[near > 0], minlength=count)
    left, top, width, height, pixels = boxes.T
    border = (left == 0) | (top == 0) | (left + width == near.shape[1]) | (top + height == near.shape[0])
    band = border & (pixels >= LEAST_BAND * near.size) & (dark <= MEAN_BLACK * pixels)
    band[0] = False
    return band.astype(np.uint8)[areas]
