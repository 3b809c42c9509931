"""Where and when a picture was taken: tags, world files, names and options tell it, and must not contradict."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, from_bounds

from cloudseg.core.errors import UsageError
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.georeference import Georeference, find, given

NAME = "Aqua_CorrectedReflectance20090122_-61--40_10-24.jpeg"
REGION = Bounds(-61, 10, -40, 24)
DAY = datetime.date(2009, 1, 22)
HEIGHT, WIDTH = 140, 210
NOTHING = Georeference()


def save(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), **options) -> Path:
    Image.new("RGB", size, (90, 120, 150)).save(path, **options)
    return path


def save_geotiff(path: Path, crs: str | None = "EPSG:4326", transform: Affine | None = None, **options) -> Path:
    transform = transform or from_bounds(-61, 10, -40, 24, WIDTH, HEIGHT)
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8"}
    tags = options.pop("tags", {})
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, photometric="RGB", **options) as file:
        file.write(np.full((3, HEIGHT, WIDTH), 100, np.uint8))
        for domain, items in tags.items():
            file.update_tags(**({"ns": domain} if domain else {}), **items)
    return path


def save_world_file(picture: Path, suffix: str, west: float = -61, north: float = 24, pixel: float = 0.1) -> None:
    lines = (pixel, 0, 0, -pixel, west + pixel / 2, north - pixel / 2)  # of the centre of the top left pixel
    picture.with_suffix(suffix).write_text("".join(f"{line}\n" for line in lines))


def refused(path: Path, options: Georeference = NOTHING) -> str:
    with pytest.raises(UsageError) as error:
        find(path, options)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_close(found: Bounds | None, expected: Bounds) -> None:
    assert found is not None
    edges = [(each.west, each.south, each.east, each.north) for each in (found, expected)]
    assert edges[0] == pytest.approx(edges[1], abs=1e-9)


# Each source alone


def test_nasas_name_tells_region_day_and_platform(tmp_path: Path) -> None:
    assert find(save(tmp_path / NAME), NOTHING) == Georeference(REGION, DAY, "Aqua")


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.jpg", ".jgw"), ("a.jpeg", ".jgw"), ("a.png", ".pgw"), ("a.tif", ".tfw")]
)
def test_a_world_file_tells_the_region(tmp_path: Path, name: str, suffix: str) -> None:
    save_world_file(save(tmp_path / name), suffix)
    found = find(tmp_path / name, NOTHING)
    assert_close(found.bounds, REGION)
    assert (found.time, found.platform) == (None, "")


def test_the_tags_of_a_geotiff_tell_the_region(tmp_path: Path) -> None:
    assert_close(find(save_geotiff(tmp_path / "a.tif"), NOTHING).bounds, REGION)
    assert_close(find(save_geotiff(tmp_path / "b.tif", crs="OGC:CRS84"), NOTHING).bounds, REGION)


@pytest.mark.parametrize("domain", ["IMAGERY", ""])
def test_metadata_of_a_geotiff_tell_time_and_platform(tmp_path: Path, domain: str) -> None:
    tags = {domain: {"ACQUISITIONDATETIME": "2009-01-22 13:30:00", "SATELLITEID": "Aqua"}}
    found = find(save_geotiff(tmp_path / "a.tif", tags=tags), NOTHING)
    assert found.time == datetime.datetime(2009, 1, 22, 13, 30, tzinfo=datetime.UTC)
    assert found.platform == "Aqua"


def test_when_a_file_was_made_is_not_when_the_picture_was_taken(tmp_path: Path) -> None:
    path = save_geotiff(tmp_path / "a.tif", tags={"": {"TIFFTAG_DATETIME": "2024:05:01 10:00:00"}})
    assert find(path, NOTHING).time is None


def test_options_tell_what_a_picture_does_not(tmp_path: Path) -> None:
    options = given((-61, 10, -40, 24), "2009-01-22", "Aqua")
    assert find(save(tmp_path / "a.jpg"), options) == Georeference(REGION, DAY, "Aqua")


def test_a_picture_without_a_place_has_none(tmp_path: Path) -> None:
    assert find(save(tmp_path / "a.jpg"), NOTHING) == NOTHING
    (tmp_path / "damaged.jpg").write_bytes(b"no")
    assert find(tmp_path / "damaged.jpg", NOTHING) == NOTHING


def test_databases_of_a_module_of_the_cluster_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another version of PROJ make every EPSG code unknown."""
    import subprocess
    import sys

    path = save_geotiff(tmp_path / "a.tif")
    program = "import pathlib, sys; from cloudseg.geo.georeference import Georeference, find\n"
    program += "print(find(pathlib.Path(sys.argv[1]), Georeference()).bounds)"
    for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA"):
        monkeypatch.setenv(name, str(tmp_path))
    said = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == str(REGION)


# The antimeridian


def test_a_region_across_the_antimeridian_is_kept_whole(tmp_path: Path) -> None:
    expected = Bounds(170, 10, 191, 24)
    assert find(save(tmp_path / NAME.replace("-61--40", "170--169")), NOTHING).bounds == expected
    assert find(save(tmp_path / "a.png"), given((170, 10, -169, 24), None, None)).bounds == expected
    save_world_file(save(tmp_path / "b.png"), ".pgw", west=170)
    assert_close(find(tmp_path / "b.png", NOTHING).bounds, expected)


# Contradictions


def test_a_name_that_does_not_fit_the_aspect_ratio_is_refused(tmp_path: Path) -> None:
    said = refused(save(tmp_path / NAME, size=(200, 200)))
    assert "200x200 pixels do not have the aspect ratio" in said and "correct its name" in said


def test_bounds_that_do_not_fit_the_aspect_ratio_are_refused(tmp_path: Path) -> None:
    said = refused(save(tmp_path / "a.jpg"), given((-61, 10, -40, 12), None, None))
    assert "correct the command line" in said


def test_west_and_east_exchanged_are_refused(tmp_path: Path) -> None:
    assert "exchange west and east" in refused(save(tmp_path / "a.jpg"), given((-40, 10, -61, 24), None, None))


def test_a_picture_turned_by_its_exif_is_compared_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert find(save(tmp_path / NAME, size=(HEIGHT, WIDTH), exif=exif), NOTHING).bounds == REGION


def test_a_name_with_a_day_or_region_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert "no day 20090231; rename the file" in refused(save(tmp_path / NAME.replace("0122", "0231")))
    assert "latitudes 24 to 10" in refused(save(tmp_path / NAME.replace("10-24", "24-10")))


def test_sources_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / NAME)
    assert "its name has the time 2009-01-22, and the command line has 2009-01-23" in refused(
        path, given(None, "2009-01-23", None)
    )
    assert "its name has the platform Aqua, and the command line has Terra" in refused(path, given(None, None, "Terra"))
    assert "has the bounds -61 10 -40 24 (W S E N), and the command line has -60" in refused(
        path, given((-60, 10, -39, 24), None, None)
    )
    save_world_file(path, ".jgw", west=-50)
    assert "its tags or its world file has the bounds -50 10 -29 24" in refused(path)


def test_a_time_refines_the_day_of_the_name(tmp_path: Path) -> None:
    found = find(save(tmp_path / NAME), given(None, "2009-01-22T14:30+01:00", "aqua"))
    assert found.time == datetime.datetime(2009, 1, 22, 13, 30, tzinfo=datetime.UTC)
    assert found.platform == "Aqua"


# Other coordinates than degrees, north up


def test_another_coordinate_system_is_refused_with_a_command_that_works(tmp_path: Path) -> None:
    import shlex
    import subprocess
    import sys

    utm = Affine(1000, 0, 300000, 0, -1000, 2000000)
    said = refused(save_geotiff(tmp_path / "a b.tif", crs="EPSG:32621", transform=utm))
    assert "is in EPSG:32621, not in EPSG:4326; reproject it, and use the result: rio warp" in said
    command = shlex.split(said.partition("result: ")[2])
    program = "import sys; from rasterio.rio.main import main_group; sys.argv[0] = 'rio'; main_group()"
    subprocess.run([sys.executable, "-c", program, *command[1:]], check=True)
    bounds = find(tmp_path / "a b-4326.tif", NOTHING).bounds
    assert bounds is not None and -59 < bounds.west < -58 and 18 < bounds.north < 19


def test_a_picture_that_is_not_north_up_is_refused(tmp_path: Path) -> None:
    south_up = Affine(0.1, 0, -61, 0, 0.1, 10)
    assert "is not north up; reproject it" in refused(save_geotiff(tmp_path / "a.tif", transform=south_up))
    tilted = Affine(0.1, 0.01, -61, 0.01, -0.1, 24)
    assert "is not north up; reproject it" in refused(save_geotiff(tmp_path / "b.tif", transform=tilted))


def test_ground_control_points_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    points = [
        GroundControlPoint(row, column, -61 + column / 10, 24 - row / 10) for row in (0, 99) for column in (0, 99)
    ]
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, gcps=points, crs="EPSG:4326") as file:
        file.write(np.zeros((3, HEIGHT, WIDTH), np.uint8))
    assert "is placed by ground control points; reproject it" in refused(path)


def test_a_world_file_in_metres_is_refused(tmp_path: Path) -> None:
    save_world_file(save(tmp_path / "a.png"), ".pgw", west=500000, north=2000000, pixel=1000)
    assert "west 500000 is not on the globe" in (said := refused(tmp_path / "a.png"))
    assert "world file must be in degrees" in said


def test_a_geotiff_off_the_globe_is_refused(tmp_path: Path) -> None:
    transform = from_bounds(-61, 85, -40, 99, WIDTH, HEIGHT)
    said = refused(save_geotiff(tmp_path / "a.tif", transform=transform))
    assert "north 99 is not on the globe" in said and "correct its tags" in said


def test_a_place_of_a_turned_picture_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    save_world_file(save(tmp_path / "a.jpg", exif=exif), ".jgw")
    assert "is also turned by its tag Orientation" in refused(tmp_path / "a.jpg")


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (((-61, 24, -40, 10), None, None), r"--bounds -61 24 -40 10: south 24 and north 10 are reversed"),
        (((-61, 10, -40, 95), None, None), r"--bounds -61 10 -40 95: north 95 is not on the globe"),
        ((None, "22.1.2009", None), r"--time 22.1.2009: give a day or a time in UTC"),
    ],
)
def test_wrong_options_are_told(options: tuple, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        given(*options)
