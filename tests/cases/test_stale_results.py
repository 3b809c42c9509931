"""Yesterday's result under today's name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.cases.conftest import Type


@pytest.fixture
def scenes(demo: Path) -> list[Image.Image]:
    return [Image.open(path).resize((210, 140)) for path in sorted((demo / "test_images").glob("*.jpg"))[:2]]


def polygons(out: Path, name: str) -> list[object]:
    return json.loads((out / f"{name}.geojson").read_text())["features"]


def replace(path: Path, content: bytes) -> None:
    """As `cp -p` and rsync do: name, size and time stay."""
    before = path.stat()
    assert before.st_size == len(content)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_picture_overwritten_daily_gets_the_masks_of_today(
    type_: Type, run: Path, rules: Path, scenes: list[Image.Image], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    scenes[0].save(folder / "latest.tif")
    scenes[1].save(folder / "tuesday.tif")
    predict = ["cloudseg.predict", "--run", run, "--images", folder, "--thresholds", rules, "--format", "geojson"]
    type_(*predict, "--out", tmp_path / "monday")
    replace(folder / "latest.tif", (folder / "tuesday.tif").read_bytes())
    type_(*predict, "--out", tmp_path / "today")
    assert polygons(tmp_path / "monday", "latest.tif") != polygons(tmp_path / "monday", "tuesday.tif")
    assert polygons(tmp_path / "today", "latest.tif") == polygons(tmp_path / "today", "tuesday.tif")


@pytest.fixture
def damaged(type_: Type, run: Path, rules: Path, scenes: list[Image.Image], tmp_path: Path):
    """A folder with whole.png and a damaged copy of it, mended.png, which were predicted with --skip-damaged; and the
    command that did so."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    scenes[0].save(folder / "whole.png")
    content = (folder / "whole.png").read_bytes()
    (folder / "mended.png").write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    options = ["--images", folder, "--thresholds", rules, "--format", "geojson", "--out", tmp_path / "out"]
    predict = ["cloudseg.predict", "--run", run, *options]
    type_(*predict, "--skip-damaged")
    assert polygons(tmp_path / "out", "mended.png") == []
    return folder, predict


def test_a_picture_that_was_skipped_is_not_taken_for_an_empty_one(
    type_: Type, run: Path, damaged, tmp_path: Path
) -> None:
    folder, _ = damaged
    said = type_("cloudseg.predict", "--run", run, "--images", folder, "--out", tmp_path / "out.csv", expect=1).stderr
    assert "mended.png" in said


def test_a_damaged_picture_that_was_mended_gets_its_masks(type_: Type, damaged, tmp_path: Path) -> None:
    folder, predict = damaged
    replace(folder / "mended.png", (folder / "whole.png").read_bytes())
    type_(*predict, "--skip-damaged")
    assert polygons(tmp_path / "out", "mended.png") == polygons(tmp_path / "out", "whole.png") != []


def test_an_image_replaced_between_two_tasks_of_an_array_is_not_lost(type_: Type, demo: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(demo / "train_images", tmp_path / "images"))
    options = ["--images", images, "--out", tmp_path / "data", "--size", "64x96", "--folds", 2, "--workers", 1]
    task = ["preprocess", "--csv", demo / "train.csv", *options, "--shards", 2, "--shard-index"]
    type_(*task, 0)
    record = json.loads((tmp_path / "data" / "shard-00000-of-00002.json").read_text())
    image = images / record["samples"][0]["name"]
    content = image.read_bytes()
    replace(image, content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    assert image.name in type_(*task, 1, expect=2).stderr
    assert not (tmp_path / "data" / "manifest.json").exists()
