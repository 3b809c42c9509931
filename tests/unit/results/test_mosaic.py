"""Scenes of a raster are put together without seams, and rules for whole images hold scene by scene."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from cloudseg.geo import lattice
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.georeference import Georeference
from cloudseg.geo.lattice import Frame
from cloudseg.geo.layers import Layers
from cloudseg.results import mosaic
from cloudseg.results.postprocess import Rule
from cloudseg.results.scenes import scene_name

OVERLAP = Fraction(1, 4)
FRAME = lattice.frame_of(Bounds(-60, -20, -1, 20))
CUT = lattice.scenes(FRAME, OVERLAP)


class Known:
    """An ensemble with the probabilities that `predict` gives for a scene."""

    def __init__(self, predict, valid=None):
        self._scenes = {scene_name("a.png", scene): scene for scene in CUT}
        self._predict, self._valid = predict, valid

    def read(self, title):
        return self._predict(self._scenes[title])

    def valid(self, title):
        scene = self._scenes[title]
        return np.ones(scene.size, bool) if self._valid is None else self._valid(scene)

    def presence(self, title):
        return None


def blend(ensemble, rule=Rule()):  # noqa: B008
    return mosaic.blend("a.png", FRAME, CUT, ensemble, [rule] * 4, OVERLAP)


def of_globe(scene: Frame) -> np.ndarray:
    """Probabilities that depend on the place alone."""
    rows, columns = np.indices(scene.size)
    return np.stack([((rows + scene.top) // 7 + (columns + scene.left) // 5 + c) % 256 for c in range(4)]).astype(
        np.uint8
    )


def test_scenes_that_agree_are_as_one():
    found = blend(Known(of_globe))
    assert np.array_equal(found.probability, of_globe(FRAME))
    assert found.valid.all() and found.allowed.all()


def test_scenes_that_differ_have_no_seam_between_them():
    levels = {scene: 60 + 30 * (number % 3) for number, scene in enumerate(CUT)}
    found = blend(Known(lambda scene: np.full((4, *scene.size), levels[scene], np.uint8)))
    assert np.abs(np.diff(found.probability[0].astype(int), axis=1)).max() <= 2
    assert np.abs(np.diff(found.probability[0].astype(int), axis=0)).max() <= 2
    assert set(np.unique(found.probability)) >= {60, 90, 120}


def test_pixels_without_data_have_no_part():
    def valid(scene):
        columns = np.arange(scene.left, scene.left + 525)
        return np.broadcast_to(columns >= FRAME.left + 500, scene.size)

    found = blend(Known(of_globe, valid))
    assert not found.valid[:, :500].any() and found.valid[:, 500:].all()
    assert np.array_equal(found.probability[..., 500:], of_globe(FRAME)[..., 500:])
    assert not found.masks([Rule()] * 4)[..., :500].any()


def test_components_are_those_of_the_whole_raster():
    def predict(scene):
        """A band two pixels high across all scenes: 1,050 pixels in a scene at most."""
        out = np.zeros((4, *scene.size), np.uint8)
        rows = slice(max(0, 1800 - scene.top), max(0, 1802 - scene.top))
        out[:, rows] = 255
        return out

    rules = [Rule(min_area=2000), Rule(min_area=4000), Rule(min_area=2000, area_of="total"), Rule()]
    found = mosaic.blend("a.png", FRAME, CUT, Known(predict), rules, OVERLAP)
    masks = found.masks(rules)
    assert [np.count_nonzero(mask) for mask in masks] == [2 * FRAME.width, 0, 0, 2 * FRAME.width]


def test_a_class_is_where_most_scenes_allow_it():
    west = CUT[0].left + 600

    def predict(scene):
        return np.full((4, *scene.size), 200 if scene.left < west else 150, np.uint8)

    found = blend(Known(predict), Rule(min_peak=0.7))
    masks = found.masks([Rule(min_peak=0.7)] * 4)
    allowed = np.flatnonzero(masks[0].all(axis=0))
    assert 0 < len(allowed) < FRAME.width and np.array_equal(allowed, np.arange(len(allowed)))


@pytest.mark.parametrize("scale", [0.01, 0.013, 0.1])
def test_without_a_place_masks_are_at_the_pixels_of_the_picture(scale):
    size = (round(9 / scale), round(12 / scale))
    bounds = lattice.placed(size, scale)
    frame = lattice.frame_of(bounds)
    probability = np.tile(np.linspace(0, 250, frame.width).astype(np.uint8), (4, frame.height, 1))
    masks = np.zeros((4, *frame.size), bool)
    masks[:, : frame.height // 2] = True
    grid = Layers("a.png", masks, probability, np.ones(frame.size, bool), Georeference())
    found = mosaic.at_picture(grid, bounds, scale)
    assert found.size == size
    assert found.masks[0, : size[0] // 2 - 8].all() and not found.masks[0, size[0] // 2 + 8 :].any()
    expected = np.linspace(0, 250, size[1])
    assert np.abs(found.probability[0].astype(float) - expected).max() <= 250 / frame.width + 4
