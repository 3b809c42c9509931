"""The region that a picture shows: its outer edges in degrees of longitude and latitude (EPSG:4326)."""

from __future__ import annotations

import math
from dataclasses import dataclass

ROUNDING = 1e-6
"""Degrees (0.1 m) by which the numbers in files may exceed the globe."""


@dataclass(frozen=True)
class Bounds:
    """The outer edges of the outermost pixels of a picture, north up, in degrees.

    `west` is from -180 to below 180; `east` is above `west` by at most 360, and above 180 if the region crosses the
    antimeridian; `south` and `north` are from -90 to 90 and ascend.
    """

    west: float
    south: float
    east: float
    north: float

    @property
    def width(self) -> float:
        """Degrees of longitude."""
        return self.east - self.west

    @property
    def height(self) -> float:
        """Degrees of latitude."""
        return self.north - self.south

    @property
    def crosses_antimeridian(self) -> bool:
        return self.east > 180

    def __str__(self) -> str:
        return f"{self.west:.7g} {self.south:.7g} {wrapped(self.east):.7g} {self.north:.7g} (W S E N)"


def checked(west: float, south: float, east: float, north: float) -> Bounds:
    """The bounds of these edges. Longitudes are from -180 to 360; a region with `east` below `west` crosses the
    antimeridian.

    Raises ValueError, which says what is wrong, for edges that are not on the globe, and if south and north are
    reversed.
    """
    if not all(map(math.isfinite, (west, south, east, north))):
        raise ValueError("its bounds are not finite numbers")
    for name, value in (("west", west), ("east", east)):
        if not -180 - ROUNDING <= value <= 360 + ROUNDING:
            raise ValueError(f"{name} {value:.10g} is not on the globe, whose longitudes are from -180 to 180")
    for name, value in (("south", south), ("north", north)):
        if abs(value) > 90 + ROUNDING:
            raise ValueError(f"{name} {value:.10g} is not on the globe, whose latitudes are from -90 to 90")
    if south >= north:
        raise ValueError(f"south {south:g} and north {north:g} are reversed; the order is W S E N")
    if west == east:
        raise ValueError(f"west and east are both {west:g}")
    width = east - west if east > west else east - west + 360
    if not 0 < width <= 360 + ROUNDING:
        raise ValueError(f"it is {width:g} degrees of longitude wide, more than the globe")
    west = wrapped(west)
    return Bounds(west, max(south, -90.0), west + min(width, 360.0), min(north, 90.0))


def wrapped(longitude: float) -> float:
    """A longitude in degrees, -540 to below 540, as one from -180 to below 180; 180 itself becomes -180."""
    if longitude >= 180:
        return longitude - 360
    return longitude + 360 if longitude < -180 - ROUNDING else longitude


def aspect_problem(bounds: Bounds, size: tuple[int, int]) -> str:
    """Why a picture of `size` (height, width) cannot show `bounds` in square pixels; "" if it can.

    A picture of NASA Worldview has pixels of as many degrees of longitude as of latitude. Its size is rounded to whole
    pixels, so one pixel more or less of height or width is not a problem.
    """
    height, width = size
    expected_height, expected_width = width * bounds.height / bounds.width, height * bounds.width / bounds.height
    if abs(expected_height - height) < 1 or abs(expected_width - width) < 1:
        return ""
    reversed_ = "; if it must not cross the antimeridian, exchange west and east" if bounds.crosses_antimeridian else ""
    return (
        f"{width}x{height} pixels do not have the aspect ratio of the bounds {bounds}, {bounds.width:.7g} by "
        f"{bounds.height:.7g} degrees, which are {width}x{expected_height:.0f} pixels{reversed_}"
    )


def agree(one: Bounds, other: Bounds, size: tuple[int, int]) -> bool:
    """Whether the edges of both are equal within half a pixel of a picture of `size` (height, width)."""
    height, width = size
    across, down = one.width / width / 2, one.height / height / 2
    east_west = (one.west - other.west + 180) % 360 - 180, one.width - other.width
    north_south = one.south - other.south, one.north - other.north
    return max(map(abs, east_west)) <= across and max(map(abs, north_south)) <= down
