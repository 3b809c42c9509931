"""Which pictures are downloaded, and what is said of days and regions that cannot be."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudseg.core.errors import UsageError
from cloudseg.data.nasa_names import Scene, parse_scene, scene_name
from cloudseg.fetching.plan import (
    Bounds,
    check_bounds,
    check_days,
    cut,
    parse_days,
    parse_platforms,
    plan,
)

DAY = datetime.date(2009, 1, 22)
TODAY = datetime.date(2026, 11, 27)


def test_a_picture_has_the_name_and_size_of_the_authors_file():
    (picture,) = plan([DAY], ["Aqua"], check_bounds(-61, 10, -40, 24), 0.01)
    assert picture.name == "Aqua_CorrectedReflectance20090122_-61--40_10-24.jpeg"
    assert (picture.width, picture.height) == (2100, 1400)
    assert picture.layer == "MODIS_Aqua_CorrectedReflectance_TrueColor"


degrees = st.integers(-18000, 18000).map(lambda hundredths: hundredths / 100)


@given(st.dates(), degrees, st.integers(1, 35999), st.integers(-9000, 8999), st.data())
def test_a_name_is_read_as_the_scene_that_it_was_made_of(day, west, width, south, data):
    north = data.draw(st.integers(south + 1, 9000))
    scene = Scene(day, west, round(west + width / 100, 2), south / 100, north / 100)
    read = parse_scene(f"{scene_name('Terra', scene)}.jpeg")
    assert (read.day, read.west, read.south, read.north) == (day, west, scene.south, scene.north)
    assert read.east == pytest.approx(scene.east, abs=1e-6)


def test_days_are_ranges_and_single_days_in_order():
    days = parse_days(["2009-03-01", "2009-01-30..2009-02-01", "2009-01-31"])
    assert [day.isoformat() for day in days] == ["2009-01-30", "2009-01-31", "2009-02-01", "2009-03-01"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2009-02-30", "--days 2009-02-30: '2009-02-30' is no day; type --days 2009-01-22"),
        ("20090122", "'20090122' is no day"),
        ("2009-01-01..", "'' is no day"),
        ("2009-03-31..2009-01-01", "type --days 2009-01-01..2009-03-31"),
    ],
)
def test_days_that_cannot_be_read_are_refused(text, said):
    with pytest.raises(UsageError) as error:
        parse_days([text])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("first", "last", "platforms", "said"),
    [
        (
            "2026-11-01",
            "2026-12-01",
            ["Terra"],
            "in the future (today is 2026-11-27 UTC); type --days 2026-11-01..2026",
        ),
        ("2027-01-01", "2027-01-01", ["Terra"], "type --days 2026-11-27"),
        (
            "2001-01-01",
            "2009-01-01",
            ["Terra", "Aqua"],
            "of Aqua; type --days 2002-07-04..2009-01-01 or --platform Terra",
        ),
        (
            "1999-01-01",
            "1999-02-01",
            ["Terra"],
            "1999-01-01 is before 2000-02-24, the first day of Terra; type --days 2",
        ),
    ],
)
def test_days_without_pictures_are_refused(first, last, platforms, said):
    with pytest.raises(UsageError) as error:
        check_days(parse_days([f"{first}..{last}"]), platforms, TODAY)
    assert said in str(error.value)


def test_the_first_days_and_today_are_accepted():
    check_days([datetime.date(2000, 2, 24), TODAY], ["Terra"], TODAY)
    check_days([datetime.date(2002, 7, 4)], ["Terra", "Aqua"], TODAY)


def test_platforms_are_known_by_name():
    assert parse_platforms("aqua,Terra,Aqua") == ["Aqua", "Terra"]
    with pytest.raises(UsageError, match="no platform 'Tera'.*Terra.*type --platform Terra,Aqua"):
        parse_platforms("Tera")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((-61, 24, -40, 10), "south is north of north; type --bounds -61 10 -40 24"),
        ((-40, 10, -61, 24), "west is east of east; type --bounds -61 10 -40 24"),
        ((170, 10, -169, 24), "date line, where the service ends; type one command for each side, with "
                              "--bounds 170 10 180 24 and --bounds -180 10 -169 24"),
        ((170, 10, 191, 24), "--bounds 170 10 180 24 and --bounds -180 10 -169 24"),
        ((10, -61, 24, -140), "latitudes are from -90 to 90; the order is --bounds WEST SOUTH EAST NORTH"),
        ((10, 10, 10, 24), "has no area"),
        ((float("nan"), 10, 10, 24), "type degrees as numbers"),
        ((-1000, 10, -990, 24), "longitudes are from -180 to 180"),
    ],
)  # fmt: skip
def test_regions_that_cannot_be_are_refused_with_what_to_type(typed, said):
    with pytest.raises(UsageError) as error:
        check_bounds(*typed)
    assert said in str(error.value)


def test_longitudes_beyond_180_are_the_same_region():
    assert check_bounds(299, 10, 320, 24) == Bounds(-61, 10, -40, 24)
    assert check_bounds(159, 0, 180, 14) == Bounds(159, 0, 180, 14)
    assert check_bounds(-180, -90, 180, 90) == Bounds(-180, -90, 180, 90)


def test_a_larger_region_is_cut_into_scenes():
    assert cut(Bounds(-61, 10, -19, 38)) == [
        Bounds(-61, 24, -40, 38),
        Bounds(-40, 24, -19, 38),
        Bounds(-61, 10, -40, 24),
        Bounds(-40, 10, -19, 24),
    ]
    assert cut(Bounds(-61, 10, -19, 17)) == [Bounds(-61, 10, -40, 17), Bounds(-40, 10, -19, 17)]


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (Bounds(-60, 10, -20, 24), "type --bounds -60 10 -18 24: 2 scenes"),
        (Bounds(150, 10, 180, 24), "type --bounds 138 10 180 24: 2 scenes"),
        (Bounds(-180, -90, 180, 90), "type --bounds -180 -90 177 78: 204 scenes"),
    ],
)
def test_a_region_that_is_no_whole_number_of_scenes_is_refused_with_one_that_is(region, said):
    with pytest.raises(UsageError) as error:
        cut(region)
    assert said in str(error.value)
    west, south, east, north = map(float, said.split("--bounds ")[1].split(":")[0].split())
    assert len(cut(Bounds(west, south, east, north))) > 1


def test_a_region_has_a_whole_number_of_pixels():
    (picture,) = plan([DAY], ["Terra"], Bounds(-61, 10, -60.5, 10.25), 0.25)
    assert (picture.width, picture.height) == (2, 1)
    assert picture.name == "Terra_CorrectedReflectance20090122_-61--60.5_10-10.25.jpeg"
    with pytest.raises(UsageError, match=r"has 0.50 x 0.25 pixels .* --bounds -61 10 -60 11, or another --resolution"):
        plan([DAY], ["Terra"], Bounds(-61, 10, -60.5, 10.25), 1.0)


@pytest.mark.parametrize("resolution", [0.0001, -1.0, float("nan"), 30.0])
def test_a_resolution_that_the_layers_do_not_have_is_refused(resolution):
    with pytest.raises(UsageError, match="type degrees per pixel, 0.002 or more: --resolution 0.01"):
        plan([DAY], ["Terra"], Bounds(-61, 10, -40, 24), resolution)
