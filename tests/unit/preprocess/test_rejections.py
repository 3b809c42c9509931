"""Rows and images that are left out: each listed with its reason, or with --strict the end of the run."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data.labels import RunTable
from cloudseg.data.shards import Manifest, Shards
from preprocess.build import build
from preprocess.settings import Settings
from tests.preprocess_source import SMALL, contents, into, jpeg, picture, write_table

# Rejections

BAD_ROWS = [
    ("good.jpg_Fish", "1 10"),  # line 2
    ("other.jpg_Sugar", "1 10"),
    ("runs.jpg_Flower", "5 1 1 1"),
    ("outside.jpg_Gravel", "2940000 2"),
    ("class.jpg_Fisch", "1 10"),
    ("twice.jpg_Fish", "1 10"),
    ("twice.jpg_Fish", "1 10"),
    ("../path.jpg_Fish", "1 10"),
    ("nothing", "1 10"),
    ("missing.jpg_Fish", "1 10"),
    ("truncated.jpg_Fish", "1 10"),
    ("small.jpg_Fish", "1 10"),
    ("text.jpg_Fish", ""),
]
REJECTIONS = {
    "runs.jpg": ("4", "EncodedPixels", 'Flower: run 2 ("1 1") overlaps'),
    "outside.jpg": ("5", "EncodedPixels", 'Gravel: run 1 ("2940000 2") leaves the image'),
    "class.jpg": ("6", "Image_Label", 'the class "Fisch" is none of'),
    "twice.jpg": ("8", "Image_Label", "Fish of this image is on line 7 already"),
    "../path.jpg": ("9", "Image_Label", "an image is named by a file name without a folder"),
    "nothing": ("10", "Image_Label", "there is no underscore"),
    "missing.jpg": ("11", "image", "there is no such JPEG in the image folder"),
    "truncated.jpg": ("12", "image", "is damaged: Premature end of JPEG file"),
    "small.jpg": (
        "13",
        "image",
        "is 96x64 in place of 2100x1400 (--allow-resize, with a new folder as --out, takes it as it is)",
    ),
    "text.jpg": ("14", "image", "is not a JPEG file"),
    "unlabelled.jpg": ("", "image", "the label table has no row for it"),
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two good images and one of every fault, made into two shards."""
    folder = tmp_path_factory.mktemp("faulty")
    images = folder / "images"
    images.mkdir()
    good = jpeg(picture(0))
    for name in ("good", "other", "runs", "outside", "class", "twice", "unlabelled"):
        (images / f"{name}.jpg").write_bytes(good)
    (images / "truncated.jpg").write_bytes(good[:-100])
    (images / "small.jpg").write_bytes(jpeg(np.zeros((64, 96, 3), np.uint8)))
    (images / "text.jpg").write_bytes(b"not an image")
    (images / "notes.txt").write_bytes(b"no image is meant")
    (folder / "path.jpg").write_bytes(good)
    write_table(folder / "train.csv", BAD_ROWS)
    settings = Settings(RunTable(folder / "train.csv"), images, folder / "out", SMALL, shards=2)
    assert f"{len(REJECTIONS)} rejected (see {settings.out / 'rejected.csv'})" in build(settings, None, 2, False)
    return settings


def rejections(out: Path) -> list[dict[str, str]]:
    with (out / "rejected.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("image", REJECTIONS)
def test_each_fault_is_listed_with_its_reason(faulty: Settings, image: str) -> None:
    line, field, reason = REJECTIONS[image]
    (row,) = [row for row in rejections(faulty.out) if row["image"] == image]
    assert (row["line"], row["field"]) == (line, field)
    assert row["reason"].startswith(reason)


def test_nothing_else_is_listed_and_the_good_images_are_there(faulty: Settings) -> None:
    assert len(rejections(faulty.out)) == len(REJECTIONS)
    manifest = Manifest.load(faulty.out)
    assert sorted(sample.name for sample in manifest.samples) == ["good.jpg", "other.jpg"]
    assert manifest.rejected == len(REJECTIONS)
    shards = Shards(manifest)
    for number in range(2):
        shards.verify(number)


def test_tasks_of_an_array_list_the_same_rejections(faulty: Settings, tmp_path: Path) -> None:
    parts = into(faulty, tmp_path / "out")
    for index in (1, 0):
        build(parts, index, 1, strict=False)
    assert contents(parts.out) == contents(faulty.out)


def only(faulty: Settings, folder: Path, *names: str) -> Settings:
    """The rows and files of these images alone."""
    (folder / "images").mkdir()
    for path in faulty.images.iterdir():
        if path.name in names:
            shutil.copy(path, folder / "images")
    write_table(folder / "train.csv", [row for row in BAD_ROWS if row[0].rpartition("_")[0] in names])
    return Settings(RunTable(folder / "train.csv"), folder / "images", folder / "out", SMALL, shards=1, folds=2)


@pytest.mark.parametrize("image", [name for name in REJECTIONS if name != "nothing"])
def test_strict_stops_at_each_fault(faulty: Settings, tmp_path: Path, image: str) -> None:
    settings = only(faulty, tmp_path, "good.jpg", "other.jpg", image)
    with pytest.raises(UsageError) as stopped:
        build(settings, None, 1, strict=True)
    assert image in str(stopped.value)
    assert REJECTIONS[image][2].partition(" on line ")[0] in str(stopped.value)
    assert "leave out --strict" in str(stopped.value)
    assert not list(tmp_path.glob("out/shard*")) and not list(tmp_path.glob("out/manifest*"))


def test_strict_stops_at_what_a_kept_shard_left_out(faulty: Settings, tmp_path: Path) -> None:
    settings = only(faulty, tmp_path, "good.jpg", "other.jpg", "small.jpg")
    build(settings, None, 1, strict=False)
    with pytest.raises(UsageError, match=r"small.jpg, image: is 96x64"):
        build(settings, None, 1, strict=True)


def test_strict_with_good_data_goes_through(faulty: Settings, tmp_path: Path) -> None:
    settings = only(faulty, tmp_path, "good.jpg", "other.jpg")
    assert build(settings, None, 1, strict=True).startswith("2 samples in 1 shards")


def test_not_one_good_image_is_an_error_with_the_reasons_on_disk(faulty: Settings, tmp_path: Path) -> None:
    settings = only(faulty, tmp_path, "small.jpg", "truncated.jpg")
    with pytest.raises(UsageError, match=r"all images are rejected: see .*rejected.csv"):
        build(settings, None, 1, strict=False)
    assert len(rejections(settings.out)) == 2
    assert not (settings.out / "manifest.json").exists()


def test_images_and_table_that_do_not_meet_are_an_error(faulty: Settings, tmp_path: Path) -> None:
    settings = only(faulty, tmp_path, "missing.jpg", "unlabelled.jpg")
    with pytest.raises(UsageError, match=r"no image of .* has labels in .*: 2 rejected, for example line 2, missing"):
        build(settings, None, 1, strict=False)
