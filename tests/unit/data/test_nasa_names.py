"""The names of NASA Worldview's pictures tell platform, day and region."""

from __future__ import annotations

import datetime

import pytest

from cloudseg.data.nasa_names import Scene, parse_scene

TERRA = "Terra_CorrectedReflectance20100116_-135--114_-15--1.jpeg"


def test_a_name_tells_platform_day_and_region() -> None:
    scene = parse_scene(TERRA)
    assert scene == Scene(datetime.date(2010, 1, 16), west=-135, east=-114, south=-15, north=-1)
    assert scene.platform == "Terra"


def test_terra_and_aqua_show_the_same_scene() -> None:
    assert parse_scene(TERRA) == parse_scene(TERRA.replace("Terra", "Aqua"))


def test_a_region_that_crosses_the_antimeridian_ends_east_of_its_west() -> None:
    scene = parse_scene(TERRA.replace("-135--114", "170--169"))
    assert scene is not None
    assert (scene.west, scene.east) == (170, 191)


def test_names_of_other_forms_have_no_scene() -> None:
    for name in ("0011165.jpg", TERRA.replace("_-15", "-15"), f"copy of {TERRA}", TERRA.replace("2010", "201")):
        assert parse_scene(name) is None


@pytest.mark.parametrize(
    ("part", "other", "said"),
    [
        ("20100116", "20100231", "there is no day 20100231"),
        ("-135", "-235", "longitudes -235 to -114 are not from -180 to 180"),
        ("-15--1", "-15--16", "latitudes -15 to -16 do not ascend"),
    ],
)
def test_a_day_or_region_that_does_not_exist_is_an_error(part: str, other: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_scene(TERRA.replace(part, other))
