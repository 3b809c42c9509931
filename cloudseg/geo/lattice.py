"""The grid of the globe on which large rasters are predicted, and the scenes into which they are cut. Pure.

A scene is what the network was trained on: 21 x 14 degrees. Scenes and their pixels have fixed places on the globe, so
that a place gets the same probabilities however the raster around it was cut.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.geo.bounds import Bounds

SCENE_DEGREES = (14, 21)
"""Height and width of the labelled pictures (Rasp et al. 2020), whose pixels are 0.01 degrees."""
PER_DEGREE = TRUTH_SIZE[0] // SCENE_DEGREES[0]
"""Pixels of the grid per degree: 25, those of the probabilities."""
TOLERANCE = 0.05
"""Share by which a picture may be larger or smaller than a scene and is still predicted as it is."""
ROUNDING = 1e-3
"""Pixels of the grid (4 m) by which bounds in files may be off."""
OVERLAP = Fraction(1, 4)
"""Default share of a scene's height and width that it has in common with the next."""


@dataclass(frozen=True)
class Frame:
    """A rectangle of the grid. `top` counts rows from 90 degrees north, `left` columns from 180 degrees west."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees. They may be beyond the globe, as a scene may."""
        bottom, right = self.top + self.height, self.left + self.width
        west, east = ((column - 180 * PER_DEGREE) / PER_DEGREE for column in (self.left, right))
        south, north = ((90 * PER_DEGREE - row) / PER_DEGREE for row in (bottom, self.top))
        return west, south, east, north

    def overlap(self, other: Frame) -> tuple[slice, slice] | None:
        """Rows and columns of this frame that are in `other`; None if there are none."""
        rows = slice(max(other.top - self.top, 0), min(other.top + other.height - self.top, self.height))
        columns = slice(max(other.left - self.left, 0), min(other.left + other.width - self.left, self.width))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def is_scene(bounds: Bounds) -> bool:
    """Whether a picture of these bounds is one scene, within TOLERANCE."""
    height, width = SCENE_DEGREES
    return abs(bounds.height / height - 1) <= TOLERANCE and abs(bounds.width / width - 1) <= TOLERANCE


def placed(size: tuple[int, int], scale: float) -> Bounds:
    """Bounds at the north-western corner of the grid for a picture of `size` (height, width) whose place is unknown;
    `scale` is degrees per pixel. They may be beyond the globe."""
    height, width = size
    return Bounds(-180.0, 90 - height * scale, -180 + width * scale, 90.0)


def frame_of(bounds: Bounds) -> Frame:
    """The smallest frame that holds `bounds`."""
    top, bottom = ((90 - latitude) * PER_DEGREE for latitude in (bounds.north, bounds.south))
    left, right = ((longitude + 180) * PER_DEGREE for longitude in (bounds.west, bounds.east))
    first_row, first_column = (math.floor(edge + ROUNDING) for edge in (top, left))
    end_row, end_column = (math.ceil(edge - ROUNDING) for edge in (bottom, right))
    return Frame(first_row, first_column, end_row - first_row, end_column - first_column)


def scenes(frame: Frame, overlap: Fraction | float = OVERLAP) -> list[Frame]:
    """The scenes that cover a frame, row by row. `overlap` is from 0 to 1/2.

    Along an axis on which the frame is no longer than a scene, within TOLERANCE, the only scene is centred on it.
    """
    height, width = TRUTH_SIZE
    return [
        Frame(top, left, height, width)
        for top in _starts(frame.top, frame.height, height, overlap)
        for left in _starts(frame.left, frame.width, width, overlap)
    ]


def _starts(first: int, length: int, of_scene: int, overlap: Fraction | float) -> list[int]:
    if length <= of_scene * (1 + TOLERANCE):
        return [first + (length - of_scene) // 2]
    step = of_scene - math.ceil(of_scene * overlap)
    start = (first - of_scene) // step + 1  # the first scene that ends after `first`
    return list(range(start * step, first + length, step))


def bands(frame: Frame, cut: list[Frame]) -> Iterator[Frame]:
    """Parts of a frame from north to south, each of full width and at most a scene high, that begin where a row of the
    scenes `cut` begins."""
    tops = sorted({scene.top for scene in cut if frame.top < scene.top < frame.top + frame.height})
    edges = [frame.top, *tops, frame.top + frame.height]
    for top, bottom in itertools.pairwise(edges):
        yield Frame(top, frame.left, bottom - top, frame.width)


def window(overlap: Fraction | float = OVERLAP) -> np.ndarray:
    """Weights of a scene's pixels in the mean with its neighbours, above 0 to 1, float32 (350, 525).

    Each axis rises and falls as sine squared over the overlap, so that the weights of two scenes sum to 1.
    """

    def of_axis(length: int) -> np.ndarray:
        ramp = math.ceil(length * overlap)
        rising = np.minimum((np.arange(length) + 0.5) / max(ramp, 0.5), 1)
        return np.sin(np.pi / 2 * np.minimum(rising, rising[::-1])) ** 2

    height, width = map(of_axis, TRUTH_SIZE)
    return (height[:, None] * width).astype(np.float32)
