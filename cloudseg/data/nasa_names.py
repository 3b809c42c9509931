"""Reads platform, day and region from the names of NASA Worldview's pictures.

Such names are PLATFORM_CorrectedReflectanceYYYYMMDD_WEST-EAST_SOUTH-NORTH.jpeg, in degrees, as those of the images that
Rasp et al. (2020) labelled: Terra_CorrectedReflectance20100116_-135--114_-15--1.jpeg.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field

FORM = "PLATFORM_CorrectedReflectanceYYYYMMDD_WEST-EAST_SOUTH-NORTH.jpeg"
"""The form of such names, for messages."""
_DEGREES = r"(-?\d{1,3}(?:\.\d+)?)"
_NAME = re.compile(
    rf"([A-Za-z0-9-]+)_CorrectedReflectance(\d{{8}})_{_DEGREES}-{_DEGREES}_{_DEGREES}-{_DEGREES}(?:\.[A-Za-z]+)?"
)


@dataclass(frozen=True, order=True)
class Scene:
    """A day and a region. Degrees; `west` is from -180 to 180, `east` from `west` to `west` + 360.

    `platform` is the satellite, as Terra. It does not count when scenes are compared.
    """

    day: datetime.date
    west: float
    east: float
    south: float
    north: float
    platform: str = field(default="", compare=False)

    def overlaps(self, other: Scene) -> bool:
        """Whether the days are equal and the regions have more than a border in common."""
        return (
            self.day == other.day
            and self.south < other.north
            and other.south < self.north
            and any(self.west < other.east + turn and other.west + turn < self.east for turn in (-360, 0, 360))
        )


def parse_scene(name: str) -> Scene | None:
    """The scene of a NASA file with this name; None for a name of another form.

    Raises ValueError for a day or degrees that do not exist.
    """
    match = _NAME.fullmatch(name)
    if not match:
        return None
    platform, day, (west, east, south, north) = match[1], match[2], map(float, match.groups()[2:])
    try:
        date = datetime.date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        raise ValueError(f"there is no day {day}") from None
    if not (-180 <= west <= 180 and -180 <= east <= 180) or west == east:
        raise ValueError(f"longitudes {west:g} to {east:g} are not from -180 to 180")
    if not -90 <= south < north <= 90:
        raise ValueError(f"latitudes {south:g} to {north:g} do not ascend from -90 to 90")
    # A region that ends west of its beginning crosses the date line.
    return Scene(date, west, east if east > west else east + 360, south, north, platform)


def scene_name(platform: str, scene: Scene) -> str:
    """The name of a NASA file with this scene, in FORM without the suffix; the reverse of `parse_scene`.

    Degrees are written to six decimals at most.
    """
    degrees = (scene.west, scene.east if scene.east <= 180 else scene.east - 360, scene.south, scene.north)
    west, east, south, north = map(_degrees, degrees)
    day = scene.day.isoformat().replace("-", "")
    return f"{platform}_CorrectedReflectance{day}_{west}-{east}_{south}-{north}"


def _degrees(value: float) -> str:
    return f"{round(value, 6) + 0.0:.6f}".rstrip("0").rstrip(".")  # + 0.0 makes -0.0 positive
