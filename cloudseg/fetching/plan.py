"""Which pictures to download: days, platforms and scenes, from what the user types."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloudseg.core.config import nearest
from cloudseg.core.errors import UsageError
from cloudseg.data.nasa_names import Scene, scene_name

FIRST_DAYS = {"Terra": datetime.date(2000, 2, 24), "Aqua": datetime.date(2002, 7, 4)}
"""Platform -> the first day with pictures of its MODIS instrument."""
SCENE_WIDTH, SCENE_HEIGHT = 21, 14
"""Degrees of longitude and latitude of a scene, as of those that Rasp et al. (2020) labelled."""
RESOLUTION = 0.01
"""Degrees per pixel of the same scenes: 2100 x 1400 pixels."""
FINEST = 0.002
"""Least degrees per pixel; the layers have 0.0022 (250 m)."""
BYTES_PER_PIXEL = 0.24
"""Mean of eleven JPEGs of 2100 x 1400 pixels and 0.58 to 0.83 MB each."""
_EXACT = 1e-6
"""Degrees, or pixels, that count as equal."""


@dataclass(frozen=True)
class Bounds:
    """A region in degrees: -180 <= west < east <= 180, -90 <= south < north <= 90."""

    west: float
    south: float
    east: float
    north: float

    def __str__(self) -> str:
        return f"--bounds {self.west:.10g} {self.south:.10g} {self.east:.10g} {self.north:.10g}"


@dataclass(frozen=True)
class Picture:
    """A scene as one platform saw it, in `width` x `height` pixels."""

    platform: str
    scene: Scene
    width: int
    height: int

    @property
    def layer(self) -> str:
        """Name of the layer at NASA GIBS (Visualization Product Catalog of its documentation)."""
        return f"MODIS_{self.platform}_CorrectedReflectance_TrueColor"

    @property
    def name(self) -> str:
        """File name, in the form that `nasa_names.parse_scene` reads."""
        return f"{scene_name(self.platform, self.scene)}.jpeg"


def plan(days: Sequence[datetime.date], platforms: Sequence[str], bounds: Bounds, resolution: float) -> list[Picture]:
    """Every picture of the days, in the order of days, platforms and scenes.

    `resolution`: degrees per pixel. Raises UsageError if `bounds` has no whole number of scenes or pixels.
    """
    if not (math.isfinite(resolution) and FINEST <= resolution <= SCENE_HEIGHT):
        raise UsageError(f"--resolution is {resolution:g}; type degrees per pixel, {FINEST} or more: --resolution 0.01")
    regions = cut(bounds)
    sizes = [_pixels(region, resolution) for region in regions]
    return [
        Picture(platform, Scene(day, region.west, region.east, region.south, region.north), width, height)
        for day in days
        for platform in platforms
        for region, (width, height) in zip(regions, sizes, strict=True)
    ]


def parse_days(texts: Iterable[str]) -> list[datetime.date]:
    """Days in ascending order, each once, of texts like 2009-01-22 or 2009-01-01..2009-03-31 (both ends included).

    Raises UsageError for another text.
    """
    days: set[datetime.date] = set()
    for text in texts:
        first, dots, last = text.partition("..")
        start = _day(first, text)
        end = _day(last, text) if dots else start
        if end < start:
            raise UsageError(f"--days {text} ends before it begins; type --days {end}..{start}")
        days |= {start + datetime.timedelta(n) for n in range((end - start).days + 1)}
    return sorted(days)


def parse_platforms(text: str) -> list[str]:
    """Platforms of a text like Terra,Aqua, each once. Raises UsageError for a platform that is not in FIRST_DAYS."""
    by_name = {name.lower(): name for name in FIRST_DAYS}
    names = list(dict.fromkeys(word.strip() for word in text.split(",")))
    for name in names:
        if name.lower() not in by_name:
            raise UsageError(
                f"--platform: there is no platform {name!r}{nearest(name, by_name.values())}; "
                f"type --platform {','.join(by_name.values())}"
            )
    return list(dict.fromkeys(by_name[name.lower()] for name in names))


def check_days(days: Sequence[datetime.date], platforms: Iterable[str], today: datetime.date) -> None:
    """Raise UsageError for a day after `today` (UTC), or before the first day of one of the platforms.

    `days`: at least one, ascending.
    """
    first, last = days[0], days[-1]
    if last > today:
        instead = f"--days {first}..{today}" if first <= today else f"--days {today}"
        raise UsageError(f"--days: {last} is in the future (today is {today} UTC); type {instead}")
    for platform in platforms:
        begin = FIRST_DAYS[platform]
        if first < begin:
            others = [other for other in FIRST_DAYS if FIRST_DAYS[other] <= first]
            either = [f"--days {begin}..{last}"] if begin <= last else []
            either += [f"--platform {','.join(others)}"] if others else []
            raise UsageError(
                f"--days: {first} is before {begin}, the first day of {platform}; type "
                f"{' or '.join(either) or f'--days {begin}'}"
            )


def check_bounds(west: float, south: float, east: float, north: float) -> Bounds:
    """The region as Bounds. Raises UsageError, with what to type, for degrees out of range, bounds that are reversed,
    and a region across the date line: the service has longitudes from -180 to 180."""
    typed = Bounds(west, south, east, north)
    if not all(map(math.isfinite, (west, south, east, north))):
        raise UsageError(f"{typed}: type degrees as numbers: --bounds WEST SOUTH EAST NORTH")
    if not (-90 <= south <= 90 and -90 <= north <= 90):
        raise UsageError(f"{typed}: latitudes are from -90 to 90; the order is --bounds WEST SOUTH EAST NORTH")
    if south == north or west == east:
        raise UsageError(f"{typed} has no area; the order is --bounds WEST SOUTH EAST NORTH")
    if south > north:
        raise UsageError(f"{typed}: south is north of north; type {Bounds(west, north, east, south)}")
    if not (-360 <= west <= 360 and -360 <= east <= 360) or abs(east - west) > 360:
        raise UsageError(f"{typed}: longitudes are from -180 to 180")
    begin = (west + 180) % 360 - 180
    end = begin + (east - west) % 360 if east < west else begin + east - west
    if east < west and end - begin > 180:
        raise UsageError(f"{typed}: west is east of east; type {Bounds(east, south, west, north)}")
    if end > 180:
        parts = Bounds(begin, south, 180, north), Bounds(-180, south, end - 360, north)
        raise UsageError(
            f"{typed} crosses the date line, where the service ends; type one command for each side, with "
            f"{parts[0]} and {parts[1]}"
        )
    return Bounds(begin, south, end, north)


def cut(bounds: Bounds) -> list[Bounds]:
    """Cut a region into scenes, from north to south and from west to east.

    A region that is not larger than a scene is one scene. A larger one must have a whole number of scenes in each
    direction in which it is larger. Raises UsageError, with the nearest region to type, if it does not.
    """
    columns, width = _parts(bounds.east - bounds.west, SCENE_WIDTH)
    rows, height = _parts(bounds.north - bounds.south, SCENE_HEIGHT)
    west = min(bounds.west, 180 - columns * width)
    south = min(bounds.south, 90 - rows * height)
    whole = Bounds(west, south, west + columns * width, south + rows * height)
    if max(abs(a - b) for a, b in zip(_sides(whole), _sides(bounds), strict=True)) > _EXACT:
        raise UsageError(
            f"{bounds} is larger than a scene of {SCENE_WIDTH} x {SCENE_HEIGHT} degrees, and has no whole number of "
            f"them; type {whole}: {columns * rows} scenes"
        )
    return [
        Bounds(
            round(west + column * width, 9),
            round(south + row * height, 9),
            round(west + (column + 1) * width, 9),
            round(south + (row + 1) * height, 9),
        )
        for row in reversed(range(rows))
        for column in range(columns)
    ]


def _parts(span: float, size: int) -> tuple[int, float]:
    """Number of scenes that cover `span` degrees, within the globe, and degrees of each."""
    most = (360 if size == SCENE_WIDTH else 180) // size
    count = min(math.ceil(span / size - _EXACT), most)
    return count, span if count == 1 and span < size else size


def _sides(bounds: Bounds) -> tuple[float, float, float, float]:
    return bounds.west, bounds.south, bounds.east, bounds.north


def _pixels(region: Bounds, resolution: float) -> tuple[int, int]:
    width, height = (region.east - region.west) / resolution, (region.north - region.south) / resolution
    sizes = round(width), round(height)
    if min(sizes) < 1 or abs(width - sizes[0]) > _EXACT * width or abs(height - sizes[1]) > _EXACT * height:
        east, north = (start + max(1, size) * resolution for start, size in zip(_sides(region)[:2], sizes, strict=True))
        raise UsageError(
            f"{region} has {width:.2f} x {height:.2f} pixels of {resolution:g} degrees; type a region with a whole "
            f"number of pixels, as {Bounds(region.west, region.south, round(east, 6), round(north, 6))}, or another "
            "--resolution"
        )
    return sizes


def _day(text: str, whole: str) -> datetime.date:
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--days {whole}: {text!r} is no day; type --days 2009-01-22, or --days 2009-01-01..2009-03-31"
        ) from None
