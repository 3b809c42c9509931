"""Masks of pictures whose place is known are where the clouds are, and wrong places are refused before the work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray
from PIL import Image
from rasterio.transform import from_bounds, from_origin

from tests.cases.conftest import Type
from tests.preprocess_source import REAL

NAMES = [
    "Aqua_CorrectedReflectance20071227_-61--40_10-24.jpeg",
    "Aqua_CorrectedReflectance20090122_-61--40_10-24.jpeg",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def predict(type_: Type, run: Path, rules: Path, folder: Path):
    def type_predict(*words: object, out: str = "out", expect: int = 0) -> str:
        options = ("--run", run, "--thresholds", rules, "--images", folder, "--out", folder.parent / out)
        process = type_("cloudseg.predict", *options, *words, expect=expect)
        return process.stdout if expect == 0 and not process.stderr else process.stderr

    return type_predict


def save(path: Path, width: int = 210, height: int = 140) -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def save_geotiff(path: Path, crs: str, transform: rasterio.Affine, dtype: str = "uint8") -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (3, 140, 210)).astype(dtype)
    profile = {"width": 210, "height": 140, "count": 3, "dtype": dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", photometric="RGB", **profile) as file:
        file.write(pixels)


def test_real_worldview_pictures_are_right_to_a_pixel_in_every_format(predict, folder: Path) -> None:
    if not (REAL / "train_images" / NAMES[0]).exists():
        pytest.skip(f"the real images are not at {REAL} (set CLOUDSEG_REAL_DATA)")
    for name in NAMES:
        shutil.copyfile(REAL / "train_images" / name, folder / name)
    for form in ("geojson", "geotiff", "netcdf"):
        predict("--format", form, out=form)
    for name, day in zip(NAMES, ("2007-12-27", "2009-01-22"), strict=True):
        table = json.loads((folder.parent / "geojson" / f"{name}.geojson").read_text())
        assert table["image_bounds"] == [-61, 10, -40, 24]
        assert {feature["properties"]["time"] for feature in table["features"]} == {day}
        shown = [feature for feature in table["features"] if feature["properties"]["class"] == "Fish"]
        with rasterio.open(folder.parent / "geotiff" / f"{name}.masks.tif") as file:
            assert tuple(file.bounds) == (-61, 10, -40, 24) and file.shape == (1400, 2100)
            fish = file.read(1)
        assert sum(feature["properties"]["pixels"] for feature in shown) == np.count_nonzero(fish == 1)
        with xarray.open_dataset(folder.parent / "netcdf" / f"{name}.nc") as file:
            assert file["lon"].values[[0, -1]] == pytest.approx([-60.995, -40.005])
            assert file["lat"].values[[0, -1]] == pytest.approx([23.995, 10.005])
            assert file["time"].values == np.datetime64(day)
            assert np.array_equal(file["mask"].sel({"class": "Fish"}).values[0] == 1, fish == 1)


def test_a_picture_without_a_place_stays_in_pixels_and_says_so(predict, folder: Path) -> None:
    save(folder / "a.png")
    save(folder / NAMES[0])
    said = predict("--format", "geojson")
    assert "1 of 2 pictures have no known place, for example a.png: their coordinates are pixels" in said
    assert "give --bounds W S E N" in said
    table = json.loads((folder.parent / "out" / "a.png.geojson").read_text())
    assert max(x for each in table["features"] for x, _ in each["geometry"]["coordinates"][0]) == 209
    assert "image_bounds" in json.loads((folder.parent / "out" / f"{NAMES[0]}.geojson").read_text())


def test_bounds_time_and_platform_of_the_command_line_are_in_the_results(predict, folder: Path) -> None:
    save(folder / "a.png")
    place = ("--bounds", -61, 10, -40, 24, "--time", "2009-01-22T13:30", "--platform", "Aqua")
    predict("--format", "netcdf", *place)
    with xarray.open_dataset(folder.parent / "out" / "a.png.nc") as file:
        assert file["time"].values == np.datetime64("2009-01-22T13:30")
        assert file.attrs["platform"] == "Aqua"
        assert file["lon"].values[0] == pytest.approx(-60.95)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "netcdf", "--bounds", -61, 10, -40, 95), "--bounds -61 10 -40 95: north 95 is not on the globe"),
        (("--format", "netcdf", "--bounds", -61, 24, -40, 10), "south 24 and north 10 are reversed"),
        (("--format", "netcdf", "--bounds", -61, 10, -40, 12), "a.png: 210x140 pixels do not have the aspect ratio"),
        (("--format", "png", "--bounds", -61, 10, -40, 24), "--bounds is for formats with coordinates"),
        (("--format", "geotiff", "--time", "yesterday"), "--time yesterday: give a day or a time in UTC"),
    ],
)
def test_wrong_places_are_one_line(predict, folder: Path, options: tuple, said: str) -> None:
    save(folder / "a.png")
    lines = predict(*options, expect=2).splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert not (folder.parent / "out").exists()


def test_bad_pictures_are_one_line_with_the_file_and_what_to_do(predict, folder: Path) -> None:
    lines = predict("--format", "geotiff", expect=2).splitlines()
    assert len(lines) == 1 and str(folder) in lines[0] and "give a folder with some: --images DIR" in lines[0]
    save_geotiff(folder / "utm.tif", "EPSG:32621", from_origin(300000, 2000000, 1000, 1000))
    lines = predict("--format", "geotiff", expect=2).splitlines()
    assert len(lines) == 1 and "utm.tif is in EPSG:32621" in lines[0] and "rio warp" in lines[0]
    (folder / "utm.tif").unlink()
    save_geotiff(folder / "deep.tif", "EPSG:4326", from_bounds(-61, 10, -40, 24, 210, 140), "uint16")
    lines = predict("--format", "geotiff", expect=1).splitlines()
    assert "deep.tif: has" in lines[-1] and "values of 16 bits" in lines[-1] and "gdal_translate" in lines[-1]
    assert not (folder.parent / "out").exists()
