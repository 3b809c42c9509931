"""Masks as PNG and GeoJSON are the masks."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from cloudseg.data.bitmask import unpack
from cloudseg.data.colours import COLOURS
from cloudseg.data.labels import CLASSES
from cloudseg.results import export

SIZE = (350, 525)


@pytest.fixture
def masks() -> np.ndarray:
    out = np.zeros((4, *SIZE), bool)
    out[0, 20:120, 30:200] = True
    out[0, 50:80, 60:100] = False  # a hole
    out[0, 200:210, 300:340] = True  # a second piece
    out[3, 100:300, 150:500] = True
    out[2, 340, 520] = True  # one pixel
    return out


def test_a_png_holds_the_bits_and_shows_the_colours(masks):
    image = Image.open(io.BytesIO(export.png(masks, SIZE)))
    assert np.array_equal(unpack(np.asarray(image)), masks)
    shown = np.asarray(image.convert("RGB"))
    assert tuple(shown[30, 40]) == COLOURS["Fish"]
    assert tuple(shown[0, 0]) == (0, 0, 0)
    both = np.mean([COLOURS["Fish"], COLOURS["Sugar"]], axis=0).round()
    assert tuple(shown[110, 160]) == tuple(both.astype(int))


def test_a_png_has_the_size_of_the_picture(masks):
    assert Image.open(io.BytesIO(export.png(masks, (1400, 2100)))).size == (2100, 1400)


def features(masks: np.ndarray, size: tuple[int, int]) -> list[dict]:
    probability = np.where(masks, 204, 51).astype(np.uint8)
    table = json.loads(export.geojson("a.jpg", masks, probability, size))
    assert table["type"] == "FeatureCollection"
    return table["features"]


@pytest.mark.parametrize("size", [SIZE, (1400, 2100), (233, 401)])
def test_polygons_painted_are_the_mask(masks, size):
    painted = np.zeros((4, *size), np.uint8)
    for feature in features(masks, size):
        outline, *holes = [np.array(ring) for ring in feature["geometry"]["coordinates"]]
        piece = np.zeros(size, np.uint8)
        cv2.fillPoly(piece, [outline], 1)
        for hole in holes:  # its outline belongs to the piece
            inside = np.zeros(size, np.uint8)
            cv2.fillPoly(inside, [hole], 1)
            cv2.polylines(inside, [hole], True, 0)
            piece[inside > 0] = 0
        painted[CLASSES.index(feature["properties"]["class"])] |= piece
    assert np.array_equal(painted.view(bool), np.stack([export.stretched(mask, size) for mask in masks]))


def test_pieces_say_what_they_are(masks):
    found = features(masks, SIZE)
    assert sorted(feature["properties"]["class"] for feature in found) == ["Fish", "Fish", "Gravel", "Sugar"]
    assert sum(f["properties"]["pixels"] for f in found if f["properties"]["class"] == "Fish") == masks[0].sum()
    assert {f["properties"]["mean_probability"] for f in found} == {0.8}


def test_rings_are_closed_and_of_four_positions_at_least(masks):
    for feature in features(masks, SIZE):
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1] and len(ring) >= 4
