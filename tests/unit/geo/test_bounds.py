"""Bounds are on the globe, in order, and fit their picture."""

from __future__ import annotations

import pytest

from cloudseg.geo.bounds import Bounds, agree, aspect_problem, checked


def test_bounds_stay_as_they_are() -> None:
    assert checked(-61, 10, -40, 24) == Bounds(-61, 10, -40, 24)


def test_east_of_the_antimeridian_is_above_180() -> None:
    assert checked(170, 10, -169, 24) == Bounds(170, 10, 191, 24)


def test_longitudes_from_0_to_360_become_those_from_minus_180() -> None:
    assert checked(299, 10, 320, 24) == Bounds(-61, 10, -40, 24)
    assert checked(0, -90, 360, 90) == Bounds(0, -90, 360, 90)
    assert checked(180, 0, 190, 5) == Bounds(-180, 0, -170, 5)


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ((-200, 10, -180, 24), "west -200 is not on the globe, whose longitudes are from -180 to 180"),
        ((500000, 1, 510000, 2), "west 500000 is not on the globe"),
        ((-61, 10, -40, 94), "north 94 is not on the globe, whose latitudes are from -90 to 90"),
        ((-61, 24, -40, 10), "south 24 and north 10 are reversed"),
        ((-61, 10, -61, 24), "west and east are both -61"),
        ((-180, 10, 200, 24), "380 degrees of longitude wide"),
        ((float("nan"), 10, -40, 24), "not finite"),
    ],
)
def test_bounds_that_are_not_a_region_of_the_globe_are_refused(edges: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        checked(*edges)


@pytest.mark.parametrize("size", [(1400, 2100), (350, 525), (426, 640), (427, 640), (256, 384)])
def test_a_picture_of_square_pixels_fits_also_if_its_size_is_rounded(size: tuple[int, int]) -> None:
    assert aspect_problem(Bounds(-61, 10, -40, 24), size) == ""


def test_another_aspect_ratio_is_a_problem() -> None:
    said = aspect_problem(Bounds(-61, 10, -40, 24), (1400, 1400))
    assert "1400x1400 pixels" in said and "21 by 14 degrees, which are 1400x933 pixels" in said


def test_west_and_east_exchanged_are_told() -> None:
    said = aspect_problem(checked(-40, 10, -61, 24), (1400, 2100))
    assert "exchange west and east" in said


def test_bounds_agree_within_half_a_pixel() -> None:
    one = Bounds(-61, 10, -40, 24)  # pixels of 0.01 degrees
    assert agree(one, Bounds(-60.996, 10, -39.996, 24), (1400, 2100))
    assert not agree(one, Bounds(-60.99, 10, -39.99, 24), (1400, 2100))
    assert not agree(one, Bounds(-61, 10.01, -40, 24.01), (1400, 2100))
    assert agree(Bounds(-180, 0, -170, 5), Bounds(179.9999999, 0, 189.9999999, 5), (500, 1000))
