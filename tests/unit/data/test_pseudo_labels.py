"""Masks from probabilities: which pictures and pixels are sure enough to train on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data import picture_files, pseudo_labels
from cloudseg.data.bitmask import unpack
from cloudseg.data.labels import NO_DATA
from tests.random_shards import random_shards

FLOWER, SUGAR = 1 << 1, 1 << 3


def probabilities(*pixels: tuple[int, int, int, int]) -> np.ndarray:
    """One row of pixels, each with the probabilities of four classes, 255 for 1: uint8 (4, 1, n)."""
    return np.array(pixels, np.uint8).T[:, None, :]


def test_a_pixel_has_the_classes_it_surely_has_and_no_data_where_one_class_is_not_sure():
    probability = probabilities((0, 255, 0, 230), (25, 0, 10, 0), (26, 0, 0, 0), (255, 229, 0, 0))
    found = pseudo_labels.labels(probability, np.ones((1, 4), bool), sure=0.9)
    assert found.dtype == np.uint8
    assert found.tolist() == [[FLOWER | SUGAR, 0, NO_DATA, NO_DATA]]


def test_a_pixel_without_data_stays_without():
    valid = np.array([[True, False]])
    assert pseudo_labels.labels(probabilities((255,) * 4, (255,) * 4), valid, 0.9).tolist() == [[15, NO_DATA]]


def test_every_label_is_that_of_the_more_probable_side():
    random = np.random.default_rng(0)
    probability = random.integers(0, 256, (4, 32, 32), np.uint8)
    found = pseudo_labels.labels(probability, np.ones((32, 32), bool), 0.5)
    assert not (found & NO_DATA).any()
    np.testing.assert_array_equal(unpack(found), probability / 255 >= 0.5)


def test_the_confidence_is_the_mean_over_classes_and_pixels_with_data():
    probability = probabilities((255, 0, 255, 0), (255, 0, 51, 204), (128, 128, 128, 128))
    assert pseudo_labels.confidence(probability, np.array([[True, True, False]])) == pytest.approx(
        (4 + 1 + 1 + 0.8 + 0.8) / 8
    )
    assert pseudo_labels.confidence(probability, np.zeros((1, 3), bool)) == 0


def test_a_picture_with_the_name_of_an_image_that_has_labels_is_refused(tmp_path):
    manifest = random_shards(tmp_path, (3,)).manifest
    pseudo_labels.check_names(["new.jpg"], manifest)
    with pytest.raises(UsageError, match=r"unlabelled: 001\.jpg and 1 more is in the data set .* with labels"):
        pseudo_labels.check_names(["002.jpg", "new.jpg", "001.jpg"], manifest)


def test_the_summary_counts_samples_and_the_share_with_each_class(tmp_path):
    manifest = random_shards(tmp_path, (4,)).manifest
    areas = [(9, 0, 1, 5), (9, 0, 0, 5), (9, 0, 0, 0), (9, 0, 0, 0)]
    samples = tuple(dataclasses.replace(s, areas=a) for s, a in zip(manifest.samples, areas, strict=True))
    assert pseudo_labels.summary(dataclasses.replace(manifest, samples=samples)) == {
        "samples": 4,
        "prevalence": {"Fish": 1.0, "Flower": 0.0, "Gravel": 0.25, "Sugar": 0.5},
        "manifest_sha256": manifest.digest,
    }


def test_pictures_are_listed_by_name_without_hidden_files_and_folders(tmp_path):
    for name in ("b.PNG", "a.jpg", "._a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "c.jpg").mkdir()
    assert picture_files.names(tmp_path, "--unlabelled") == ["a.jpg", "b.PNG"]


@pytest.mark.parametrize(("folder", "said"), [("none", "is not a folder.*--unlabelled DIR"), (".", "no picture")])
def test_a_folder_without_pictures_is_refused(tmp_path, folder, said):
    with pytest.raises(UsageError, match=said):
        picture_files.names(tmp_path / folder, "--unlabelled")
