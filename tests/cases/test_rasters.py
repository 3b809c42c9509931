"""Rasters of any extent are predicted at the scale of the network, the same however they were cut."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray
from PIL import Image

from tests.cases.conftest import Type
from tests.train.conftest import start_ranks

Image.MAX_IMAGE_PIXELS = None
STEP = 0.02
"""Degrees per pixel of the rasters here."""


def clouds(height: int, width: int) -> np.ndarray:
    """Smooth blobs of all sizes, RGB uint8."""
    noise = np.random.default_rng(0)
    total = np.zeros((height, width))
    for size in (40, 160, 640):
        coarse = noise.random((height // size + 2, width // size + 2)).astype(np.float32)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.repeat((30 + 70 * total).clip(1, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def raster() -> np.ndarray:
    """60 x 34 degrees."""
    return clouds(1700, 3000)


@pytest.fixture
def folder(tmp_path: Path, raster: np.ndarray) -> Path:
    """The raster whole, and a part of it that is cut off within pixels of the grid."""
    out = tmp_path / "pictures"
    out.mkdir()
    Image.fromarray(raster).save(out / "Terra_CorrectedReflectance20100116_-60-0_-14-20.jpeg", quality=95)
    whole = Image.open(out / "Terra_CorrectedReflectance20100116_-60-0_-14-20.jpeg")
    whole.crop((149, 51, 3000, 1700)).save(out / "Terra_CorrectedReflectance20100116_-57.02-0_-14-18.98.png")
    return out


def predict(type_: Type, run: Path, rules: Path, folder: Path, out: Path, *words: object, expect: int = 0) -> str:
    options = ("--run", run, "--thresholds", rules, "--images", folder, "--out", out)
    process = type_("cloudseg.predict", *options, *words, expect=expect)
    return process.stdout + process.stderr


def test_the_same_place_has_the_same_probabilities_however_a_raster_was_cut(type_, run, rules, folder, tmp_path):
    predict(type_, run, rules, folder, tmp_path / "out", "--format", "netcdf")
    whole, part = (
        xarray.open_dataset(path, mask_and_scale=False)
        for path in sorted((tmp_path / "out").glob("*.nc"), reverse=True)
    )
    if whole.sizes["lon"] < part.sizes["lon"]:
        whole, part = part, whole
    assert (whole.sizes["lat"], whole.sizes["lon"]) == (850, 1500)
    assert whole["lat"].values[[0, -1]] == pytest.approx([19.98, -13.98])
    assert whole["lon"].values[[0, -1]] == pytest.approx([-59.98, -0.02])
    inner = {"lat": slice(4, -14), "lon": slice(-35, 0)}  # a scene from where the part was cut off
    one, other = (each["probability"].sel(inner) for each in (whole, part))
    assert one.size > 500_000
    assert one["lat"].values == pytest.approx(other["lat"].values)
    difference = np.abs(one.values.astype(int) - other.values)
    assert difference.max() <= 1 and len(np.unique(one)) > 10


def test_two_ranks_write_what_one_writes_in_every_format(type_, run, rules, folder, tmp_path):
    (folder / "Terra_CorrectedReflectance20100116_-57.02-0_-14-18.98.png").unlink()
    for form in ("geotiff", "geojson"):
        predict(type_, run, rules, folder, tmp_path / "one", "--format", form)
    kept = list((run / "probabilities").iterdir())
    copy = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns(*(path.name for path in kept))))
    for form in ("geotiff", "geojson"):
        words = ("--thresholds", rules, "--images", folder, "--out", tmp_path / "two", "--format", form)
        assert start_ranks(2, "-m", "cloudseg.predict", "--run", str(copy), *map(str, words)) == 0
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with rasterio.open(tmp_path / "one" / next(name for name in names if "masks" in name)) as file:
        assert tuple(file.bounds) == pytest.approx((-60, -14, 0, 20)) and file.shape == (850, 1500)
        flower = np.count_nonzero(file.read(2) == 1)
    table = json.loads((tmp_path / "one" / next(name for name in names if "geojson" in name)).read_text())
    assert table["image_bounds"] == [-60, -14, 0, 20]
    assert sum(f["properties"]["pixels"] for f in table["features"] if f["properties"]["class"] == "Flower") == flower


def test_without_a_place_the_scale_cuts_and_masks_stay_at_the_pixels(type_, run, rules, tmp_path, raster):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(raster[:900, :1600]).save(tmp_path / "pictures" / "a.png")
    words = ("--format", "geotiff", "--scale", STEP)
    said = predict(type_, run, rules, tmp_path / "pictures", tmp_path / "out", *words)
    assert "its coordinates are pixels" in said or "their coordinates are pixels" in said
    with rasterio.open(tmp_path / "out" / "a.png.masks.tif") as file:
        assert file.shape == (900, 1600) and file.crs is None
    assert "is for formats with coordinates" in predict(
        type_, run, rules, tmp_path / "pictures", tmp_path / "x.csv", "--scale", STEP, expect=2
    )


def test_a_damaged_raster_stops_it_and_can_be_left_out(type_, run, rules, folder, tmp_path):
    good, bad = sorted(folder.iterdir())
    bad.write_bytes(bad.read_bytes()[:10_000])
    said = predict(type_, run, rules, folder, tmp_path / "out", "--format", "geotiff", expect=1)
    assert f"{bad} is damaged" in said and "write it anew, or add --skip-damaged" in said
    said = predict(type_, run, rules, folder, tmp_path / "out", "--format", "geotiff", "--skip-damaged")
    assert f"warning: {bad} is damaged" in said
    with rasterio.open(tmp_path / "out" / f"{good.name}.masks.tif") as file:
        assert (file.read() != 255).any()


def test_a_very_large_picture_needs_a_place(type_, run, rules, tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("L", (65_000, 1000)).save(tmp_path / "pictures" / "a.png")
    words, out = ("--format", "geotiff"), tmp_path / "out"
    said = predict(type_, run, rules, tmp_path / "pictures", out, *words, "--scale", 0.00025, expect=2)
    assert "a.png is 65000x1000, more than 64 million pixels; give its place instead of --scale" in said
    predict(type_, run, rules, tmp_path / "pictures", out, *words, "--bounds", 0, 0, 16.25, 0.25)
    with rasterio.open(out / "a.png.masks.tif") as file:
        assert file.shape == (7, 407) and tuple(file.bounds) == pytest.approx((0, -0.02, 16.28, 0.26), abs=0.021)


def test_a_wrong_overlap_is_one_line(type_, run, rules, folder, tmp_path):
    said = predict(type_, run, rules, folder, tmp_path / "out", "--format", "geotiff", "--overlap", "0.7", expect=2)
    assert "0.7 is no share from 0 to 1/2, as 1/4 or 0.25" in said
