"""Parses image sizes on the command line."""

from __future__ import annotations

import argparse

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
