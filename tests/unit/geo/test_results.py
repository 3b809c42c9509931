"""GeoJSON, GeoTIFF and NetCDF are where the picture is, and hold its masks and probabilities."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path

import geopandas
import h5py
import numpy as np
import pytest
import rasterio
import shapely
import xarray
from geojson_validator import validate_geometries, validate_structure
from geojson_validator.geometry_validation import PROBLEMATIC_CRITERIA
from rasterio.features import rasterize
from rasterio.transform import from_bounds

from cloudseg.data.labels import CLASSES
from cloudseg.geo.bounds import Bounds, checked
from cloudseg.geo.georeference import Georeference, Time
from cloudseg.geo.layers import Layers
from cloudseg.geo.netcdf import netcdf
from cloudseg.geo.polygons import geojson
from cloudseg.geo.rasters import geotiffs

HEIGHT, WIDTH = 140, 210
REGION = Bounds(-61, 10, -40, 24)
ACROSS = checked(170, 10, -169, 24)
DAY = datetime.date(2009, 1, 22)
MOMENT = datetime.datetime(2009, 1, 22, 13, 30, tzinfo=datetime.UTC)


def layers(bounds: Bounds | None = REGION, time: Time | None = DAY) -> Layers:
    masks = np.zeros((4, HEIGHT, WIDTH), bool)
    masks[0, :30, :40] = True  # Fish, from the northwest corner of the picture
    masks[0, 10:20, 10:20] = False  # a hole
    masks[0, 15, 15] = True  # an island
    masks[2, 60:70, 50:60] = masks[2, 70:80, 60:70] = True  # Gravel, two squares that touch at a corner
    masks[3, 130:, 90:] = True  # Sugar, to the southeast corner, across the middle of the picture
    masks[3, 130, WIDTH - 1] = False
    probability = np.where(masks, 204, 51).astype(np.uint8)
    probability[3, 139, 209] = 255
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[100:110, 20:30] = False
    return Layers("a.jpg", masks, probability, valid, Georeference(bounds, time, "Aqua" if time else ""))


def read_geojson(content: bytes) -> geopandas.GeoDataFrame:
    table = json.loads(content)
    return geopandas.GeoDataFrame.from_features(table["features"], crs="EPSG:4326")


# GeoJSON


@pytest.mark.parametrize("bounds", [REGION, ACROSS, Bounds(-180, -90, 180, 90)])
def test_a_validator_of_geojson_finds_no_fault(bounds: Bounds) -> None:
    table = json.loads(geojson(layers(bounds)))
    assert validate_structure(table, check_crs=True) == {}
    # Not checked: holes, which are valid; crossings of the antimeridian, as the validator takes edges at 180 for some.
    problematic = [each for each in PROBLEMATIC_CRITERIA if each not in ("holes", "crosses_antimeridian")]
    faults = validate_geometries(table, criteria_problematic=problematic)
    assert faults["invalid"] == faults["problematic"] == {}
    assert all(shapely.geometry.shape(feature["geometry"]).is_valid for feature in table["features"])


@pytest.mark.parametrize("bounds", [REGION, ACROSS])
def test_polygons_painted_are_the_masks(bounds: Bounds) -> None:
    expected = layers(bounds)
    table = read_geojson(geojson(expected))
    if bounds is ACROSS:  # back to one piece of longitudes
        west_half = table.geometry.clip_by_rect(-180, -90, 0, 90).translate(xoff=360)
        table = table.set_geometry(table.geometry.clip_by_rect(0, -90, 180, 90).union(west_half))
    transform = from_bounds(bounds.west, bounds.south, bounds.east, bounds.north, WIDTH, HEIGHT)
    for c, label in enumerate(CLASSES):
        shapes = table.geometry[table["class"] == label]
        painted = rasterize(shapes, (HEIGHT, WIDTH), transform=transform) if len(shapes) else np.zeros((HEIGHT, WIDTH))
        assert np.array_equal(painted, expected.masks[c]), label


def test_a_feature_tells_class_size_probability_time_and_platform() -> None:
    table = read_geojson(geojson(layers()))
    assert table["class"].tolist() == ["Fish", "Fish", "Gravel", "Sugar"]
    assert table["pixels"].tolist() == [1100, 1, 200, 1199]
    assert table["mean_probability"].tolist() == [0.8, 0.8, 0.8, round((1198 * 204 + 255) / 1199 / 255, 4)]
    assert set(table["time"]) == {"2009-01-22"} and set(table["platform"]) == {"Aqua"}
    assert set(json.loads(geojson(layers(time=None)))["features"][0]["properties"].items()) >= {
        ("time", None),
        ("platform", None),
    }
    assert read_geojson(geojson(layers(time=MOMENT)))["time"][0] == "2009-01-22T13:30:00Z"


def test_areas_are_those_on_the_ellipsoid() -> None:
    """Against geodesics (Karney 2013, in pyproj) between positions so close that they follow the parallels."""
    from pyproj import Geod

    table = read_geojson(geojson(layers()))
    geod = Geod(ellps="WGS84")
    for _, row in table.iterrows():
        area, _ = geod.geometry_area_perimeter(shapely.segmentize(row.geometry, 0.01))
        assert row["area_km2"] == pytest.approx(area / 1e6, rel=1e-5)


def test_corners_are_right_to_a_pixel() -> None:
    table = json.loads(geojson(layers()))
    assert table["image"] == "a.jpg" and table["image_bounds"] == [-61, 10, -40, 24]
    frame = read_geojson(geojson(layers()))
    west, _, _, north = frame.geometry[0].bounds
    _, south, east, _ = frame.geometry[3].bounds
    assert (west, south, east, north) == (-61, 10, -40, 24)


def test_outer_rings_are_counterclockwise_and_holes_clockwise() -> None:
    for each in read_geojson(geojson(layers(ACROSS))).geometry.explode():
        assert each.exterior.is_ccw and not any(hole.is_ccw for hole in each.interiors)


def test_the_antimeridian_cuts_a_polygon_in_two() -> None:
    table = json.loads(geojson(layers(ACROSS)))
    sugar = table["features"][-1]
    assert sugar["geometry"]["type"] == "MultiPolygon"
    spans = sorted((min(xs), max(xs)) for xs in ([x for x, _ in part[0]] for part in sugar["geometry"]["coordinates"]))
    assert spans == [(-180, -169), (179, 180)]
    assert table["image_bounds"] == [170, 10, -169, 24]
    assert sugar["properties"]["area_km2"] == json.loads(geojson(layers()))["features"][-1]["properties"]["area_km2"]


def test_no_mask_is_an_empty_collection() -> None:
    empty = layers()
    empty.masks[:] = False
    assert json.loads(geojson(empty))["features"] == []


# GeoTIFF


@pytest.fixture
def tiffs(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for suffix, content in geotiffs(layers()).items():
        paths[suffix] = tmp_path / f"a.jpg{suffix}"
        paths[suffix].write_bytes(content)
    return paths


def test_geotiffs_are_where_the_picture_is(tiffs: dict[str, Path]) -> None:
    assert set(tiffs) == {".masks.tif", ".probability.tif"}
    for path in tiffs.values():
        with rasterio.open(path) as file:
            assert file.crs.to_epsg() == 4326
            assert tuple(file.bounds) == (-61, 10, -40, 24)
            assert file.nodata == 255 and file.dtypes == ("uint8",) * 4
            assert file.descriptions == CLASSES
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_geotiffs_hold_masks_and_probabilities(tiffs: dict[str, Path]) -> None:
    expected = layers()
    with rasterio.open(tiffs[".masks.tif"]) as file:
        masks = file.read(masked=True)
        assert np.array_equal(masks.mask, np.broadcast_to(~expected.valid, masks.shape))
        assert np.array_equal(masks.data[masks.mask == 0], expected.masks[masks.mask == 0])
    with rasterio.open(tiffs[".probability.tif"]) as file:
        probability = file.read(masked=True) * np.array(file.scales)[:, None, None]
        assert np.array_equal(probability.mask, masks.mask)
        assert np.abs(probability - expected.probability / 255).max() <= 0.5 / 254
        assert probability[3, 139, 209] == 1


def test_geotiffs_tell_the_time_and_are_read_as_pictures_with_a_place(tiffs: dict[str, Path]) -> None:
    from cloudseg.geo.georeference import find

    assert find(tiffs[".masks.tif"], Georeference()) == layers().reference


def test_the_class_sugar_is_not_taken_for_opacity(tiffs: dict[str, Path]) -> None:
    with rasterio.open(tiffs[".masks.tif"]) as file:
        assert rasterio.enums.ColorInterp.alpha not in file.colorinterp


# NetCDF


@pytest.fixture
def opened(tmp_path: Path) -> xarray.Dataset:
    (tmp_path / "a.nc").write_bytes(netcdf(layers()))
    return xarray.open_dataset(tmp_path / "a.nc")


def test_xarray_opens_netcdf_without_a_hint(opened: xarray.Dataset) -> None:
    expected = layers()
    assert opened["probability"].dims == opened["mask"].dims == ("class", "time", "lat", "lon")
    assert opened["class"].values.tolist() == list(CLASSES)
    assert opened["time"].values == np.datetime64("2009-01-22")
    assert opened["time_bnds"].values.tolist() == [[d.astype("datetime64[ns]").item() for d in days()]]
    fish = opened["probability"].sel({"class": "Fish", "time": "2009-01-22"}).squeeze()
    assert float(fish.sel(lat=23.99, lon=-60.99, method="nearest")) == pytest.approx(0.8, abs=1 / 500)
    probability = opened["probability"].values[:, 0]
    assert probability.dtype == np.float32
    assert np.array_equal(np.isnan(probability), np.broadcast_to(~expected.valid, probability.shape))
    assert np.nanmax(np.abs(probability - expected.probability / 255)) <= 0.5 / 254 + 1e-6
    assert np.array_equal(opened["mask"].values[:, 0] == 1, expected.masks & expected.valid)


def days() -> list[np.datetime64]:
    return [np.datetime64("2009-01-22"), np.datetime64("2009-01-23")]


def test_centres_of_pixels_are_in_degrees(opened: xarray.Dataset) -> None:
    assert opened["lon"].values[[0, -1]] == pytest.approx([-60.95, -40.05])
    assert opened["lat"].values[[0, -1]] == pytest.approx([23.95, 10.05])


def test_attributes_follow_the_cf_conventions(opened: xarray.Dataset) -> None:
    from pyproj import CRS

    assert opened.attrs["Conventions"] == "CF-1.11" and opened.attrs["platform"] == "Aqua"
    assert opened["lat"].attrs["standard_name"] == "latitude" and opened["lat"].attrs["units"] == "degrees_north"
    assert opened["lon"].attrs["standard_name"] == "longitude" and opened["lon"].attrs["units"] == "degrees_east"
    assert opened["time"].attrs["standard_name"] == "time" and opened["time"].attrs["bounds"] == "time_bnds"
    assert opened["probability"].attrs["units"] == "1"
    crs = opened[opened["probability"].attrs["grid_mapping"]]
    assert CRS.from_cf(crs.attrs).to_epsg() == 4326


def test_probabilities_are_packed() -> None:
    with h5py.File(io.BytesIO(netcdf(layers()))) as file:
        probability = file["probability"]
        assert probability.dtype == np.uint8
        assert probability.attrs["scale_factor"][()] == pytest.approx(1 / 254)
        assert probability.attrs["_FillValue"] == 255
        assert "_FillValue" not in file["lat"].attrs


def test_a_time_has_no_bounds_if_it_is_exact(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(netcdf(layers(time=MOMENT)))
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert file["time"].values == np.datetime64("2009-01-22T13:30")
        assert "time_bnds" not in file


def test_longitudes_ascend_across_the_antimeridian(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(netcdf(layers(ACROSS)))
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert file["lon"].values[[0, -1]] == pytest.approx([170.05, 190.95])


# Pictures without a place


def test_without_a_place_netcdf_and_geotiff_are_in_pixels(tmp_path: Path) -> None:
    nowhere = layers(bounds=None, time=None)
    (tmp_path / "a.nc").write_bytes(netcdf(nowhere))
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert file["mask"].dims == ("class", "y", "x")
        assert file["x"].values.tolist() == list(range(WIDTH))
        assert "crs" not in file
    (tmp_path / "a.tif").write_bytes(geotiffs(nowhere)[".masks.tif"])
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs is None and file.shape == (HEIGHT, WIDTH)
