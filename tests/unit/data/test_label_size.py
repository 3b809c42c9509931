"""The size of masks is told from their runs, and masks of the right size are never doubted."""

from __future__ import annotations

import numpy as np
import pytest

from cloudseg.data import label_size, rle

FULL = (1400, 2100)


def shape(kind: str, size: tuple[int, int]) -> rle.Runs:
    """A mask in the middle of an image of this size."""
    height, width = size
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None] - 0.5
    match kind:
        case "box":
            mask = (abs(y) < 0.3) & (abs(x) < 0.4)
        case "two boxes":
            mask = (abs(abs(y) - 0.3) < 0.1) & (abs(x) < 0.4)
        case "ellipse":
            mask = (y / 0.3) ** 2 + (x / 0.4) ** 2 < 1
        case "slanted":
            mask = abs(y + 0.7 * x) < 0.1
        case "speckled":
            mask = (abs(y) < 0.3) & (abs(x) < 0.4) & (np.random.default_rng(0).random(size) < 0.7)
    return rle.find(mask)


KINDS = ("box", "two boxes", "ellipse", "slanted", "speckled")


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_the_right_size_are_not_doubted(kind: str) -> None:
    assert label_size.size_problem([shape(kind, FULL)]) == ""
    assert label_size.submission_size_problem([shape(kind, (350, 525))] * 8) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_one_mask_of_a_submission_is_enough_to_know_it(kind: str) -> None:
    assert "this seems to be a submission" in label_size.size_problem([shape(kind, (350, 525))])


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_a_submission_that_were_scaled_up_are_not_doubted(kind: str) -> None:
    assert label_size.size_problem([rle.resized(shape(kind, (350, 525)), (350, 525), FULL)]) == ""


@pytest.mark.parametrize("size", [(700, 1050), (320, 480), (256, 384), (512, 512)])
def test_other_heights_are_told(size: tuple[int, int]) -> None:
    assert f"{size[0]} pixels high" in label_size.size_problem([shape("box", size)])


def test_a_few_small_masks_at_the_left_are_not_doubted_and_many_are() -> None:
    small = rle.parse("1 10", 1400 * 2100)
    assert label_size.size_problem([small] * (label_size.MIN_EVIDENCE - 1)) == ""
    assert label_size.size_problem([small] * label_size.MIN_EVIDENCE) != ""


def test_labels_to_which_a_submission_was_appended_are_doubted() -> None:
    both = [shape("box", FULL)] * 20 + [shape("box", (350, 525))] * 5
    assert "5 of 25 checked masks seem to be of a submission" in label_size.size_problem(both)


def test_runs_counted_from_0_are_told() -> None:
    starts = np.arange(100, 160) * 1400
    assert label_size.size_problem([rle.Runs(starts, starts + 700)]) == ""
    assert "count the pixels from 0" in label_size.size_problem([rle.Runs(starts - 1, starts + 699)])


def test_no_masks_are_not_doubted() -> None:
    assert label_size.size_problem([]) == label_size.size_problem([rle.Runs.none()]) == ""
    assert label_size.submission_size_problem([]) == ""


def test_a_mask_that_is_scaled_up_keeps_its_shape() -> None:
    mask = np.random.default_rng(0).random((35, 50)) < 0.5
    runs = rle.resized(rle.find(mask), (35, 50), (140, 200))
    assert rle.encode(np.kron(mask, np.ones((4, 4), bool))) == " ".join(
        f"{start + 1} {end - start}" for start, end in zip(*runs, strict=True)
    )
