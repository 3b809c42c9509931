"""Run-length masks: the competition's order and numbering, round trips, and every way in which runs can be
wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloudseg.core.errors import DataError
from cloudseg.data import rle

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def by_hand(runs: str, height: int, width: int) -> np.ndarray:
    """The definition, pixel by pixel."""
    mask = np.zeros((height, width), bool)
    numbers = [int(word) for word in runs.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            mask[pixel % height, pixel // height] = True
    return mask


def test_pixel_1_is_top_left_and_pixel_2_below_it() -> None:
    mask = np.zeros((3, 2), bool)
    mask[0, 0] = mask[1, 0] = mask[2, 1] = True
    assert rle.encode(mask) == "1 2 6 1"


def test_a_run_goes_on_into_the_next_column() -> None:
    mask = np.zeros((3, 2), bool)
    mask[2, 0] = mask[0, 1] = True
    assert rle.encode(mask) == "3 2"


@given(masks)
def test_decode_undoes_encode(mask: np.ndarray) -> None:
    decoded = rle.decode(rle.encode(mask), *mask.shape)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)


@given(masks)
def test_encode_agrees_with_the_definition(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(by_hand(rle.encode(mask), *mask.shape), mask)


@given(masks)
def test_runs_are_as_long_as_possible(mask: np.ndarray) -> None:
    numbers = np.array(rle.encode(mask).split(), int).reshape(-1, 2)
    assert (numbers[1:, 0] > numbers[:-1].sum(axis=1)).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=8))
def test_decode_takes_any_ordered_runs_even_touching_ones(gaps_and_lengths: list[tuple[int, int]]) -> None:
    words, position = [], 1
    for gap, length in gaps_and_lengths:
        words += [str(position + gap), str(length)]
        position += gap + length
    runs = " ".join(words)
    np.testing.assert_array_equal(rle.decode(runs, 8, 10), by_hand(runs, 8, 10))


@given(st.text(alphabet="0123456789 -+.e_x\t٣", max_size=30))
def test_any_text_is_a_mask_or_a_runs_error(text: str) -> None:
    try:
        mask = rle.decode(text, 20, 30)
    except rle.RunsError:
        return
    assert mask.sum() == sum(int(word) for word in text.split()[1::2])


@pytest.mark.parametrize("runs", ["", " ", "\n"])
def test_no_runs_are_an_empty_mask(runs: str) -> None:
    assert not rle.decode(runs, 4, 5).any()


def test_an_empty_mask_has_no_runs() -> None:
    assert rle.encode(np.zeros((4, 5), bool)) == ""


def test_the_last_pixel_belongs_to_the_image() -> None:
    assert rle.decode("20 1", 4, 5)[3, 4]


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ("1 2 3", "no length"),
        ("one 2", "'one' is not a positive integer"),
        ("1 2.0", "'2.0' is not a positive integer"),
        ("-1 2", "'-1' is not a positive integer"),
        ("1_0 2", "'1_0' is not a positive integer"),
        ("٣ 2", "'٣' is not a positive integer"),
        ("0 2", r'run 1 \("0 2"\) starts at 0'),
        ("1 2 5 0", r'run 2 \("5 0"\) has no length'),
        ("20 2", r'run 1 \("20 2"\) leaves the image of 20 pixels'),
        ("21 1", r'run 1 \("21 1"\) leaves the image'),
        ("999999999999999999 999999999999999999", "leaves the image"),
        ("1 3 3 1", r'run 2 \("3 1"\) overlaps'),
        ("5 1 1 1", r'run 2 \("1 1"\) overlaps the run before it or is out of order'),
    ],
)
def test_wrong_runs_are_refused_with_the_reason(runs: str, reason: str) -> None:
    with pytest.raises(rle.RunsError, match=reason):
        rle.decode(runs, 4, 5)


def test_a_runs_error_is_a_data_error_and_a_value_error() -> None:
    assert issubclass(rle.RunsError, DataError)
    assert issubclass(rle.RunsError, ValueError)


@pytest.mark.parametrize("mask", [np.zeros(5, bool), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), bool)])
def test_encode_takes_two_dimensional_bool_only(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="bool array"):
        rle.encode(mask)
