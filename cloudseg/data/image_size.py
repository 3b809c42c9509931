"""Image sizes: parsed on the command line, and of training samples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cloudseg.core.errors import UsageError
from cloudseg.data.labels import SOURCE_SIZE

STRIDE = 32
"""Height and width are multiples of this, as encoders halve an image five times."""


def parse(text: str) -> tuple[int, int]:
    """Parse "320x480" into (320, 480), height first. Raises ValueError unless both are multiples of 32 within
    1400x2100."""
    height, separator, width = text.partition("x")
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise ValueError(f'"{text}" is not HEIGHTxWIDTH, as in 320x480')
    for given, most in zip((int(height), int(width)), SOURCE_SIZE, strict=True):
        if given % STRIDE or not 0 < given <= most:
            raise ValueError(
                f"{text}: height and width are multiples of {STRIDE}, at most {most // STRIDE * STRIDE} here"
            )
    return int(height), int(width)


def check_crop(crop: Sequence[int]) -> None:
    """Raises UsageError unless the setting `crop` is empty or a height and a width that networks take."""
    if crop and (len(crop) != 2 or any(side < 1 or side % STRIDE for side in crop)):
        raise UsageError(
            f"crop: must be [height, width], both multiples of {STRIDE}, as in [256, 384], or [] for whole images; "
            f"not {list(crop)}"
        )


def training_size(stored: tuple[int, int], crop: Sequence[int]) -> tuple[int, int]:
    """Height and width of training samples: the setting `crop`, else those of `stored` images.

    Raises UsageError if the crop is larger than a stored image.
    """
    if not crop:
        return stored
    height, width = crop
    if height > stored[0] or width > stored[1]:
        raise UsageError(
            f"crop: {height}x{width} is larger than the stored images, {stored[0]}x{stored[1]}; type at most: "
            f"--set crop=[{min(height, stored[0])},{min(width, stored[1])}], or make larger shards: "
            f"--size {max(height, stored[0])}x{max(width, stored[1])}"
        )
    return height, width


def labels(text: str) -> tuple[int, int]:
    """Argparse type of the size of the masks in a label table: "350x525" -> (350, 525), height first."""
    height, separator, width = text.partition("x")
    if not (separator and height.isdecimal() and width.isdecimal() and 0 < int(height) <= 10_000 > int(width) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, as in 350x525")
    return int(height), int(width)


def argument(text: str) -> str:
    """Argparse type of an image size: returns `text` unchanged if `parse` accepts it."""
    try:
        parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
