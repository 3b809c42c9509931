"""An atlas counts each day once, comes out the same however it was made, and says what it cannot use."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray
from PIL import Image

from cloudseg.data.labels import CLASSES
from tests import processes
from tests.cases.conftest import ROOT, Type, clean_environment

DAYS = ("20090105", "20090120", "20090301", "20090715", "20100110", "20101224")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Pictures of six days, two regions that overlap by some degrees, of two satellites on one day."""
    folder = tmp_path_factory.mktemp("worldview")
    for number, day in enumerate(DAYS):
        picture(folder / f"Aqua_CorrectedReflectance{day}_-61--40_10-24.png", number)
    picture(folder / f"Terra_CorrectedReflectance{DAYS[0]}_-50--29_10-24.png", 50)
    return folder


@pytest.fixture(scope="module")
def rules(tmp_path_factory) -> Path:
    """Thresholds in the midst of the probabilities of a network that was hardly trained."""
    path = tmp_path_factory.mktemp("rules") / "rules.json"
    path.write_text(json.dumps({name: {"threshold": 0.5} for name in CLASSES}))
    return path


def picture(path: Path, seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(20, 230, (7, 10, 3), np.uint8)
    Image.fromarray(coarse).resize((525, 350), Image.Resampling.BICUBIC).save(path)


def options(run: Path, rules: Path, pictures: Path, out: Path) -> list[object]:
    return ["cloudseg.atlas", "--run", run, "--thresholds", rules, "--images", pictures, "--out", out]


@pytest.fixture(scope="module")
def atlas(type_: Type, run: Path, rules: Path, pictures: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("atlas") / "atlas"
    said = type_(*options(run, rules, pictures, out)).stdout
    assert "6 days, 7 pictures" in said
    return out


def test_it_has_the_days_and_places_of_the_pictures(atlas):
    with xarray.open_dataset(atlas / "atlas.nc") as table:
        assert table["lon"].values[[0, -1]] == pytest.approx([-60.5, -29.5])
        assert table["lat"].values[[0, -1]] == pytest.approx([23.5, 10.5])
        west, middle, east = (table["looks"].sel(lon=lon, lat=17.5).item() for lon in (-60.5, -45.5, -30.5))
        assert (west, middle, east) == (6, 6, 1)
        assert table["month_looks"].sel(lon=-60.5, lat=17.5).values.tolist() == [3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]
        frequency = table["frequency"]
        assert ((frequency >= 0) & (frequency <= 1)).all() and len(np.unique(frequency)) > 20
        assert (table["frequency_low"] <= frequency).all() and (frequency <= table["frequency_high"]).all()
        both = table["sum_n"].sel(year_month="2009-01", lon=-45.5, lat=17.5).item()
        assert both == 3 * 625  # two satellites on the first day, one on the second


def test_the_frequency_is_that_of_the_masks_that_predict_writes(type_, run, rules, pictures, atlas, tmp_path):
    words = ["--run", run, "--thresholds", rules, "--images", pictures, "--out", tmp_path / "out"]
    type_("cloudseg.predict", *words, "--format", "netcdf")
    inside = {"lat": slice(24, 10), "lon": slice(-61, -50)}  # where only Aqua looks
    masks = []
    for path in sorted((tmp_path / "out").glob("Aqua*.nc")):
        with xarray.open_dataset(path, mask_and_scale=False) as table:
            masks.append(table["mask"].sel(inside).values[:, 0])
    share = np.mean(masks, axis=0).reshape(4, 14, 25, 11, 25).mean(axis=(2, 4))
    with xarray.open_dataset(atlas / "atlas.nc") as table:
        assert table["frequency"].sel(inside).values == pytest.approx(share, abs=1e-6)


def test_the_page_needs_nothing_beside_it(atlas):
    page = (atlas / "atlas.html").read_text()
    assert page.count("data:image/png") == 4 and "2009-01-05 to 2010-12-24" in page
    assert not any(f'src="{where}' in page for where in ("http", "/", "file"))
    assert {path.name for path in atlas.iterdir()} == {
        "atlas.nc", "atlas.html", "maps.png", "seasons.png", "cycle.png", "series.png"
    }  # fmt: skip


def test_two_halves_merged_are_the_whole(type_, run, rules, pictures, atlas, tmp_path):
    for year in ("2009", "2010"):
        (tmp_path / f"pictures-{year}").mkdir()
        for path in pictures.glob(f"*Reflectance{year}*"):
            shutil.copy(path, tmp_path / f"pictures-{year}")
        type_(*options(run, rules, tmp_path / f"pictures-{year}", tmp_path / year))
    type_("cloudseg.atlas", "--merge", tmp_path / "2010", tmp_path / "2009", "--out", tmp_path / "both")
    with (
        xarray.open_dataset(tmp_path / "both" / "atlas.nc") as merged,
        xarray.open_dataset(atlas / "atlas.nc") as whole,
    ):
        for name in whole.variables:
            np.testing.assert_array_equal(merged[name], whole[name])
    said = type_("cloudseg.atlas", "--merge", tmp_path / "2010", atlas, "--out", tmp_path / "x", expect=2).stderr
    assert "cannot be merged: the day 2010-01-10 is in two of them" in said
    said = type_("cloudseg.atlas", "--merge", tmp_path, "--out", tmp_path / "x", expect=1).stderr
    assert "atlas.nc cannot be read: No such file or directory; give folders of atlases: --merge A B" in said


def test_killed_at_random_moments_it_comes_out_the_same(run, rules, pictures, atlas, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("probabilities")))
    words = [sys.executable, "-m", *map(str, options(copy, rules, pictures, tmp_path / "atlas"))]
    environ = {**clean_environment(), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    moments = random.Random(0)
    for attempt in range(12):
        process = processes.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if attempt < 5:
            time.sleep(moments.uniform(0.2, 4))
            process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
        if process.returncode == 0 and attempt >= 5:
            break
    assert process.returncode == 0, said
    with (
        xarray.open_dataset(tmp_path / "atlas" / "atlas.nc") as again,
        xarray.open_dataset(atlas / "atlas.nc") as whole,
    ):
        for name in whole.variables:
            np.testing.assert_array_equal(again[name], whole[name])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.png", "a.png has no known place; name them as NASA Worldview does"),
        ("Aqua_CorrectedReflectance20090105_-50--29_10-24.png", "show the same place on 2009-01-05"),
    ],
)
def test_what_it_cannot_use_is_named(type_, run, rules, pictures, tmp_path, name, said):
    folder = Path(shutil.copytree(pictures, tmp_path / "pictures"))
    picture(folder / name, 1)
    assert said in type_(*options(run, rules, folder, tmp_path / "x"), expect=2).stderr
    assert not (tmp_path / "x").exists()


def test_wrong_options_are_one_line(type_, run, rules, pictures, tmp_path):
    said = type_(*options(run, rules, pictures, tmp_path / "x"), "--cell", 0.3, expect=2).stderr
    assert "--cell 0.3: give degrees that divide 180 and are a multiple of 0.04" in said
    said = type_("cloudseg.atlas", "--out", tmp_path / "x", expect=2).stderr
    assert "give the pictures, --images DIR, or atlases to merge, --merge A B" in said
    said = type_("cloudseg.atlas", "--merge", "a", "--images", "b", "--out", tmp_path / "x", expect=2).stderr
    assert "goes without --images" in said
