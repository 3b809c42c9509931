"""Regions of rasters are read where they are, at any resolution, and are black without data outside."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_bounds

from cloudseg.core.errors import DataError
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.raster_windows import Raster

BOUNDS = Bounds(-30, -20, 30, 20)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (400, 600, 3), np.uint8)


def save(path, pixels, **more) -> None:
    height, width = pixels.shape[:2]
    profile = {"height": height, "width": width, "count": pixels.shape[2], "dtype": pixels.dtype, **more}
    transform = from_bounds(-30, -20, 30, 20, width, height)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:4326", transform=transform, **profile) as file:
        file.write(pixels.transpose(2, 0, 1))


def test_a_region_at_the_scale_of_the_raster_is_its_pixels(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found, without_data = Raster(tmp_path / "a.png", BOUNDS).read((-10, -5, 11, 9), (140, 210))
    assert np.array_equal(found, pixels[110:250, 200:410]) and not without_data.any()


def test_a_coarser_region_is_the_mean_of_the_pixels(tmp_path, pixels):
    save(tmp_path / "a.tif", pixels)
    found, _ = Raster(tmp_path / "a.tif", BOUNDS).read((-10, -10, 10, 10), (50, 50))
    mean = pixels[100:300, 200:400].reshape(50, 4, 50, 4, 3).mean(axis=(1, 3))
    assert np.abs(found - mean).max() <= 1


def test_outside_the_raster_there_is_no_data(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found, without_data = Raster(tmp_path / "a.png", BOUNDS).read((-40, 10, -19, 24), (140, 210))
    assert np.array_equal(found[40:, 100:], pixels[:100, :110])
    assert without_data[:40].all() and without_data[:, :100].all() and not without_data[40:, 100:].any()
    assert not found[without_data].any()
    _, without_data = Raster(tmp_path / "a.png", BOUNDS).read((40, 10, 61, 24), (140, 210))
    assert without_data.all()


def test_a_region_does_not_depend_on_how_the_raster_was_cut(tmp_path, pixels):
    save(tmp_path / "a.tif", pixels)
    part = pixels[33:, 21:]
    Image.fromarray(part).save(tmp_path / "b.png")
    edges = (-12.3, -7.7, 8.7, 6.3)
    one, _ = Raster(tmp_path / "a.tif", BOUNDS).read(edges, (300, 400))
    other, _ = Raster(tmp_path / "b.png", Bounds(-27.9, -20, 30, 16.7)).read(edges, (300, 400))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_alpha_and_no_data_values_are_no_data(tmp_path, pixels):
    pixels[:200] = 0
    save(tmp_path / "nodata.tif", pixels, nodata=0)
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    alpha[:200] = 0
    save(tmp_path / "alpha.tif", np.concatenate([pixels, alpha], axis=2), photometric="RGB", alpha="YES")
    for name in ("nodata.tif", "alpha.tif"):
        _, without_data = Raster(tmp_path / name, BOUNDS).read((-10, -7, 11, 7), (140, 210))
        assert without_data[:70].all() and not without_data[70:].any()


def test_what_is_not_eight_bit_colour_is_refused(tmp_path, pixels):
    save(tmp_path / "deep.tif", pixels.astype(np.uint16))
    with pytest.raises(DataError, match=r"deep.tif has samples of the kind uint16; scale them to 8 bits"):
        Raster(tmp_path / "deep.tif", BOUNDS).read((-10, -7, 11, 7), (140, 210))
    Image.fromarray(pixels).quantize(16).save(tmp_path / "palette.png")
    with pytest.raises(DataError, match=r"palette.png has a palette; save it as RGB"):
        Raster(tmp_path / "palette.png", BOUNDS).read((-10, -7, 11, 7), (140, 210))
    (tmp_path / "broken.png").write_bytes((tmp_path / "palette.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"broken.png is damaged"):
        Raster(tmp_path / "broken.png", BOUNDS).read((-10, -7, 11, 7), (140, 210))
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=turned)
    with pytest.raises(DataError, match=r"turned.jpg is turned by its EXIF orientation"):
        Raster(tmp_path / "turned.jpg", BOUNDS).read((-10, -7, 11, 7), (140, 210))
