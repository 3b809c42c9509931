"""Scenes have fixed places on the globe, and their weights sum to one."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from cloudseg.geo import lattice
from cloudseg.geo.bounds import Bounds, checked
from cloudseg.geo.lattice import Frame

GLOBE = Bounds(-180, -70, 180, 70)


def coverage(frame: Frame, overlap: Fraction) -> np.ndarray:
    """Sum of the weights of the scenes on each pixel of a frame."""
    total = np.zeros(frame.size)
    for scene in lattice.scenes(frame, overlap):
        part, within = frame.overlap(scene), scene.overlap(frame)
        assert part is not None and within is not None
        total[part] += lattice.window(overlap)[within]
    return total


@pytest.mark.parametrize("overlap", [Fraction(1, 4), Fraction(1, 2), Fraction(0), Fraction(1, 3)])
def test_every_pixel_has_the_weight_one_in_all(overlap):
    frame = lattice.frame_of(Bounds(-100.3, -31, -20, 12.21))
    assert coverage(frame, overlap) == pytest.approx(1, abs=1e-2)


def test_scenes_do_not_depend_on_how_a_raster_was_cut():
    whole = set(lattice.scenes(lattice.frame_of(GLOBE)))
    part = lattice.scenes(lattice.frame_of(Bounds(-77.77, -33.3, 31.4, 41.2)))
    assert len(part) > 20 and set(part) <= whole


def test_a_raster_within_a_scene_is_the_middle_of_one():
    frame = lattice.frame_of(Bounds(10, 0, 20, 7))
    (scene,) = lattice.scenes(frame)
    assert (scene.top, scene.left) == (frame.top - 87 - 1, frame.left - 137 - 1)
    assert scene.size == (350, 525)


def test_a_strip_as_high_as_a_scene_has_one_row_of_scenes():
    cut = lattice.scenes(lattice.frame_of(Bounds(-61, 10, -19, 24)))
    assert {scene.top for scene in cut} == {(90 - 24) * 25}


@pytest.mark.parametrize(
    ("edges", "expected"), [((-61, 10, -40, 24), True), ((-61, 10, -41, 23.4), True), ((-61, 10, -30, 24), False)]
)
def test_pictures_like_those_of_training_are_not_cut(edges, expected):
    assert lattice.is_scene(checked(*edges)) is expected


def test_a_frame_has_the_bounds_to_a_pixel_beyond_the_antimeridian():
    frame = lattice.frame_of(checked(170, -10.01, -150, 20))
    assert frame.edges == (170, -10.04, 210, 20)
    assert frame.size == (751, 1000)


def test_bands_are_the_frame_from_north_to_south():
    frame = lattice.frame_of(GLOBE)
    bands = list(lattice.bands(frame, lattice.scenes(frame)))
    assert bands[0].top == frame.top
    assert all(one.top + one.height == two.top for one, two in itertools.pairwise(bands))
    assert sum(band.height for band in bands) == frame.height == 3500
    assert max(band.height for band in bands) <= 350
