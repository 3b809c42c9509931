"""Pictures as satellites, GIS programs and cameras leave them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cloudseg.data.labels import CLASSES
from tests.cases.conftest import Type

HEIGHT, WIDTH = 140, 210
GDAL_NODATA = 42113


@pytest.fixture
def scene() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_picture_of_16_bits_is_not_segmented_as_a_dark_one(
    type_: Type, run: Path, scene: np.ndarray, folder: Path, name: str
) -> None:
    cv2.imwrite(str(folder / name), scene.astype(np.uint16) * 16)
    out = folder.parent / "out.csv"
    said = type_("cloudseg.predict", "--run", run, "--images", folder, "--out", out, expect=1).stderr
    assert name in said and "8 bits a colour" in said and "gdal_translate -ot Byte" in said
    assert not out.exists()


def without_right_half(folder: Path, scene: np.ndarray) -> None:
    """The same scene in ways in which GIS programs say that its right half, white underneath, has no data."""
    right = np.zeros((HEIGHT, WIDTH), bool)
    right[:, WIDTH // 2 :] = True
    white = scene.copy()
    white[right] = 255
    alpha = Image.fromarray(np.dstack([white, np.where(right, 0, 255).astype(np.uint8)]))
    alpha.save(folder / "alpha.png")
    alpha.save(folder / "alpha.tif")
    Image.fromarray(white).save(folder / "key.png", transparency=(255, 255, 255))
    Image.fromarray(white).save(folder / "nodata.tif", tiffinfo={GDAL_NODATA: "255"})


def test_what_has_no_data_has_no_mask_in_pictures_and_polygons(
    type_: Type, run: Path, scene: np.ndarray, folder: Path, rules: Path
) -> None:
    without_right_half(folder, scene)
    predict = ["cloudseg.predict", "--run", run, "--images", folder, "--thresholds", rules]
    type_(*predict, "--format", "png", "--out", folder.parent / "png")
    type_(*predict, "--format", "geojson", "--out", folder.parent / "polygons")
    for path in folder.iterdir():
        mask = np.asarray(Image.open(folder.parent / "png" / f"{path.name}.png"))
        assert mask[:, : WIDTH // 2 - 2].all(), path.name
        assert not mask[:, WIDTH // 2 :].any(), path.name
        features = json.loads((folder.parent / "polygons" / f"{path.name}.geojson").read_text())["features"]
        assert len(features) >= len(CLASSES)
        assert max(x for each in features for x, _ in each["geometry"]["coordinates"][0]) < WIDTH // 2, path.name


def test_what_has_no_data_has_no_mask_in_a_submission(
    type_: Type, run: Path, scene: np.ndarray, folder: Path, tmp_path: Path
) -> None:
    """Not even where the rules turn a piece into its box, which covers the hole in `hole.png`."""
    without_right_half(folder, scene)
    inner = np.dstack([scene, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    inner[40:100, 60:150, 3] = 0
    Image.fromarray(inner).save(folder / "hole.png")
    rules = tmp_path / "boxes.json"
    rules.write_text(json.dumps({name: {"threshold": 0.01, "shape": "box"} for name in CLASSES}))
    out = tmp_path / "out.csv"
    type_("cloudseg.predict", "--run", run, "--images", folder, "--thresholds", rules, "--out", out)
    rows = dict(list(csv.reader(out.open()))[1:])
    for path in folder.iterdir():
        numbers = np.array(rows[f"{path.name}_Fish"].split(), int)
        mask = np.zeros((525, 350), bool)
        for start, length in numbers.reshape(-1, 2):
            mask.reshape(-1)[start - 1 : start - 1 + length] = True
        assert mask[:140].any()
        gone = mask.T[101:249, 151:374] if path.name == "hole.png" else mask[263:]
        assert not gone.any(), path.name


def test_what_the_finder_leaves_in_a_folder_is_no_picture(
    type_: Type, run: Path, scene: np.ndarray, folder: Path
) -> None:
    Image.fromarray(scene).save(folder / "a.png")
    (folder / "._a.png").write_bytes(b"\0\5\x16\7Mac OS X")
    (folder / "b.jpg").mkdir()
    (folder / "__MACOSX").mkdir()
    type_("cloudseg.predict", "--run", run, "--images", folder, "--out", folder.parent / "out.csv")
    rows = (folder.parent / "out.csv").read_text().splitlines()[1:]
    assert {row.partition(",")[0] for row in rows} == {f"a.png_{name}" for name in CLASSES}


def test_masks_of_a_png_that_a_camera_turned_lie_upright(
    type_: Type, run: Path, scene: np.ndarray, folder: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene).save(folder / "a.png", exif=exif)
    out = folder.parent / "out"
    type_("cloudseg.predict", "--run", run, "--images", folder, "--format", "png", "--out", out)
    assert Image.open(out / "a.png.png").size == (HEIGHT, WIDTH)
