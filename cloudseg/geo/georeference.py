"""Finds where and when a picture was taken: in its tags, its world file, its name or the command line."""

from __future__ import annotations

import datetime
import shlex
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from cloudseg.core.errors import UsageError
from cloudseg.data.nasa_names import FORM, parse_scene
from cloudseg.geo import libraries
from cloudseg.geo.bounds import Bounds, agree, aspect_problem, checked

Time = datetime.date
"""A day, or a `datetime.datetime` in UTC."""
T = TypeVar("T")

FILE, NAME, OPTIONS = "its tags or its world file", "its name", "the command line"
"""The sources, for messages. Of two that agree, the first is used."""
ORIENTATION = 0x0112
"""The EXIF tag; 1 is upright."""
ACQUIRED, SATELLITE = "ACQUISITIONDATETIME", "SATELLITEID"
"""Metadata items of GDAL's raster data model, domain IMAGERY; they are also read from the default domain."""
HOW_TO_PLACE = "name them as NASA Worldview does, add world files, or give --bounds W S E N"


@dataclass(frozen=True)
class Georeference:
    """What is known of a picture: bounds (None: coordinates are pixels), time (None) and platform ("")."""

    bounds: Bounds | None = None
    time: Time | None = None
    platform: str = ""


def given(bounds: tuple[float, float, float, float] | None, time: str | None, platform: str | None) -> Georeference:
    """What the options --bounds, --time and --platform tell of all pictures. Raises UsageError for a wrong one."""
    try:
        region = None if bounds is None else checked(*bounds)
    except ValueError as error:
        raise UsageError(f"--bounds {' '.join(f'{edge:g}' for edge in bounds or ())}: {error}") from None
    try:
        moment = None if time is None else parse_time(time)
    except ValueError:
        raise UsageError(f"--time {time}: give a day or a time in UTC, as 2009-01-22 or 2009-01-22T13:30") from None
    return Georeference(region, moment, platform or "")


def parse_time(text: str) -> Time:
    """A day, or a time in UTC, from ISO 8601 or GDAL's `YYYY-MM-DD hh:mm:ss`. Raises ValueError for other texts."""
    text = text.strip()
    if len(text) <= len("2009-01-22"):
        return datetime.date.fromisoformat(text)
    moment = datetime.datetime.fromisoformat(text)
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment.astimezone(datetime.UTC)


def time_text(time: Time | None) -> str | None:
    """ISO 8601: 2009-01-22, or 2009-01-22T13:30:00Z."""
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def find(path: Path, options: Georeference) -> Georeference:
    """What is known of the picture `path`, with `options` for what it does not tell itself.

    Raises UsageError, with the path and what to do, if the sources contradict each other, the picture's size does not
    fit the bounds of its name or of `options`, its coordinates are not degrees (EPSG:4326), or it is turned or tilted.
    """
    sources = {FILE: _from_file(path), NAME: _from_name(path), OPTIONS: options}
    size = upright_size(path)
    bounds = {source: found.bounds for source, found in sources.items() if found.bounds is not None}
    times = {source: found.time for source, found in sources.items() if found.time is not None}
    platforms = {source: found.platform for source, found in sources.items() if found.platform}
    if size is not None:  # None: a damaged picture, of which the prediction says what is wrong
        for source in (NAME, OPTIONS):
            if source in bounds and (problem := aspect_problem(bounds[source], size)):
                raise UsageError(f"{path}: {problem}; correct {source}")
        _check_agreement(path, "bounds", bounds, lambda one, other: agree(one, other, size), str)
    _check_agreement(path, "time", times, _same_time, time_text)
    _check_agreement(path, "platform", platforms, lambda one, other: one.lower() == other.lower(), str)
    exact = [time for time in times.values() if isinstance(time, datetime.datetime)]
    return Georeference(
        next(iter(bounds.values()), None),
        next(iter([*exact, *times.values()]), None),
        next(iter(platforms.values()), ""),
    )


def _check_agreement(
    path: Path, what: str, found: Mapping[str, T], same: Callable[[T, T], bool], text: Callable[[T], Any]
) -> None:
    first = next(iter(found), None)
    for source in found:
        if first is not None and not same(found[first], found[source]):
            raise UsageError(
                f"{path}: {first} has the {what} {text(found[first])}, and {source} has {text(found[source])}; "
                "correct one of them"
            )


def _same_time(one: Time, other: Time) -> bool:
    """Whether two times are equal, or one is the day of the other."""
    if isinstance(one, datetime.datetime) and isinstance(other, datetime.datetime):
        return one == other
    return (one.year, one.month, one.day) == (other.year, other.month, other.day)


def _from_name(path: Path) -> Georeference:
    try:
        scene = parse_scene(path.name)
        if scene is None:
            return Georeference()
        return Georeference(checked(scene.west, scene.south, scene.east, scene.north), scene.day, scene.platform)
    except ValueError as error:
        raise UsageError(f"{path}: its name has the form {FORM}, but {error}; rename the file") from None


def _from_file(path: Path) -> Georeference:
    """What GDAL reads from tags and world files. A damaged file tells nothing."""
    libraries.prepare()
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as dataset:
                tags = {**dataset.tags(), **dataset.tags(ns="IMAGERY")}
                return Georeference(_bounds(path, dataset), _time(path, tags), tags.get(SATELLITE, "").strip())
        except RasterioIOError:
            return Georeference()


def _time(path: Path, tags: Mapping[str, str]) -> Time | None:
    # TIFFTAG_DATETIME is when the file was made (TIFF 6.0, DateTime), which is not when the picture was taken.
    text = tags.get(ACQUIRED, "").strip()
    try:
        return parse_time(text) if text else None
    except ValueError:
        raise UsageError(f"{path}: its tag {ACQUIRED} is {text!r}; write a time as 2009-01-22 13:30:00") from None


def _bounds(path: Path, dataset: Any) -> Bounds | None:
    """The bounds of an open rasterio dataset; None if it has no place. Raises UsageError as `find` does."""
    from rasterio.crs import CRS

    transform = dataset.transform
    warp = shlex.join(
        ["rio", "warp", str(path), str(path.with_name(f"{path.stem}-4326.tif")), "--dst-crs", "EPSG:4326"]
    )
    if transform.is_identity:
        if dataset.gcps[0]:
            raise UsageError(f"{path} is placed by ground control points; reproject it, and use the result: {warp}")
        return None
    if dataset.crs and dataset.crs != CRS.from_string("OGC:CRS84") and dataset.crs.to_epsg() != 4326:
        name = dataset.crs.to_string()
        name = name if len(name) < 20 else name.partition('"')[2].partition('"')[0]
        raise UsageError(f"{path} is in {name}, not in EPSG:4326; reproject it, and use the result: {warp}")
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise UsageError(f"{path} is not north up; reproject it, and use the result: {warp}")
    if _orientation(path) != 1:
        raise UsageError(f"{path} has a place, and is also turned by its tag Orientation; remove one of them")
    try:
        return checked(*dataset.bounds)
    except ValueError as error:
        degrees = "" if dataset.crs else "; its world file must be in degrees, as it names no coordinate system"
        raise UsageError(f"{path}: {error}{degrees}; correct its tags or its world file") from None


def _orientation(path: Path) -> int:
    with Image.open(path) as image:
        return image.getexif().get(ORIENTATION, 1)


def upright_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a picture as `predict` reads it; None for a file that is no picture."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # pixels are not decoded here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception:  # Pillow's parsers raise errors of many classes
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return (width, height) if turned else (height, width)
