"""The six real images and their real labels, made into shards."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cloudseg.data import rle
from cloudseg.data.labels import CLASSES, NO_DATA, SOURCE_SIZE, RunTable
from cloudseg.data.shards import Manifest, Shards
from preprocess.build import build
from preprocess.settings import Settings
from tests.preprocess_source import REAL, assert_area_average

# The real images


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    if not (REAL / "train.csv").is_file():
        pytest.skip(f"the real images are not at {REAL} (set CLOUDSEG_REAL_DATA)")
    out = tmp_path_factory.mktemp("real")
    build(Settings(RunTable(REAL / "train.csv"), REAL / "train_images", out, (320, 480)), None, 2, strict=True)
    return Shards(Manifest.load(out))


def masks_of(name: str) -> list[np.ndarray]:
    """The full masks of an image's classes, read from the table as plain text."""
    rows = dict(line.split(",") for line in (REAL / "train.csv").read_text().splitlines())
    return [rle.decode(rows[f"{name}_{label}"], *SOURCE_SIZE) for label in CLASSES]


def test_the_six_real_images_become_samples(real: Shards) -> None:
    assert sorted(map(real.name, range(len(real)))) == sorted(path.name for path in (REAL / "train_images").iterdir())
    assert len(real) == 6
    for number in range(6):
        real.verify(number)


def test_real_masks_agree_with_an_independent_area_average(real: Shards) -> None:
    compared = 0
    for number in range(6):
        for stored in (real.mask(number), real.truth(number)):
            compared += assert_area_average(stored, masks_of(real.name(number)))
    assert compared > 500_000


def test_no_class_under_the_real_black_band(real: Shards) -> None:
    for number in range(6):
        for stored in (real.mask(number), real.truth(number)):
            empty = stored & NO_DATA != 0
            assert 0.03 < empty.mean() < 0.2
            assert (stored[empty] == NO_DATA).all()


def test_the_real_band_is_black_and_the_rest_is_not(real: Shards) -> None:
    for number in range(6):
        brightest = real.image(number).max(axis=2)
        empty = (real.mask(number) & NO_DATA != 0).astype(np.uint8)
        inside = cv2.erode(empty, np.ones((3, 3), np.uint8)) > 0
        outside = cv2.dilate(empty, np.ones((3, 3), np.uint8)) == 0
        assert np.mean(brightest[inside] <= 10) > 0.99
        assert np.mean(brightest[outside] <= 10) < 0.001


def test_labels_survive_within_a_pixel_of_their_real_edges(real: Shards) -> None:
    """Runs decoded one pixel off would move every box; here the areas must agree with the table's."""
    for number in range(6):
        areas = real.manifest.samples[number].areas
        for area, mask in zip(areas, masks_of(real.name(number)), strict=True):
            assert area / (320 * 480) == pytest.approx(mask.mean(), abs=0.006)
