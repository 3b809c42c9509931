"""Runs and the black band -> mask bits: the exact area average, what exactly one half does, and what is a band."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cloudseg.data import rle
from cloudseg.data.labels import NO_DATA, SOURCE_SIZE
from cloudseg.data.shards import TRUTH_SIZE
from preprocess import native
from preprocess.area import resized
from preprocess.images import HALF_SIZE, black_band
from tests.preprocess_source import HEIGHT, WIDTH, area_average, box, jpeg, picture

PIXELS = HEIGHT * WIDTH
NO_BAND = np.zeros(HALF_SIZE, np.uint8)


def runs_of(text: str) -> rle.Runs:
    return rle.parse(text, PIXELS)


def painted(runs: rle.Runs, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """The mask, bool (height, width), of runs."""
    flat = np.zeros(height * width, bool)
    for start, end in zip(*runs, strict=True):
        flat[start:end] = True
    return flat.reshape(width, height).T


def from_edges(edges: list[int]) -> rle.Runs:
    """Runs from every other edge to the next one."""
    edges = sorted(set(edges))
    edges = np.array(edges[: len(edges) // 2 * 2], np.int64).reshape(-1, 2)
    return rle.Runs(edges[:, 0].copy(), edges[:, 1].copy())


positions = st.one_of(
    st.integers(0, PIXELS),
    st.integers(0, WIDTH).map(lambda column: column * HEIGHT),  # the top of a column and the bottom of another
    st.builds(lambda column, row: column * HEIGHT + row, st.integers(0, WIDTH - 1), st.integers(0, 4)),
    st.integers(PIXELS - HEIGHT, PIXELS),  # the last column
)
single_pixels = positions.filter(lambda place: place < PIXELS).map(lambda place: [place, place + 1])
stretches = st.lists(positions, max_size=12)
scattered = st.integers(0, 2**32).map(
    lambda seed: np.unique(np.random.default_rng(seed).integers(0, PIXELS + 1, 3000)).tolist()
)
any_runs = st.one_of(
    st.lists(st.one_of(single_pixels, stretches), max_size=8).map(
        lambda parts: from_edges([edge for part in parts for edge in part])
    ),
    scattered.map(from_edges),
)
sizes = st.one_of(
    st.sampled_from([(320, 480), (64, 96), TRUTH_SIZE, (1, 1), HALF_SIZE, (1376, 2080), SOURCE_SIZE]),
    st.tuples(st.integers(1, 400), st.integers(1, 500)),
    st.tuples(st.integers(1, HEIGHT), st.integers(1, WIDTH)),
)
FULL = rle.Runs(np.array([0]), np.array([PIXELS]))


def mask_bits(classes: list[rle.Runs], band: np.ndarray, sizes: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    return [native.mask_bits(classes, band, SOURCE_SIZE, size, NO_DATA) for size in sizes]


# The pixels that runs cover by half


@given(any_runs, sizes)
@example(FULL, (320, 480))
@example(FULL, (1399, 2099))
@example(rle.Runs(np.array([0]), np.array([1])), (1, 1))
@example(rle.Runs(np.array([PIXELS - 1]), np.array([PIXELS])), SOURCE_SIZE)
@example(rle.Runs(np.array([HEIGHT - 1]), np.array([HEIGHT])), SOURCE_SIZE)
@example(rle.Runs(np.array([0, HEIGHT]), np.array([HEIGHT, 2 * HEIGHT])), (31, 1050))
@settings(max_examples=20)
def test_a_pixel_is_set_where_its_exact_area_is_covered_by_half(runs: rle.Runs, size: tuple[int, int]) -> None:
    (got,) = mask_bits([runs], NO_BAND, (size,))
    np.testing.assert_array_equal(got, 2 * area_average(painted(runs), size) >= PIXELS)


bands = st.one_of(
    st.integers(0, 2**32).map(
        lambda seed: cv2.resize(
            (np.random.default_rng(seed).random((35, 50)) < 0.3).astype(np.uint8),
            HALF_SIZE[::-1],
            interpolation=cv2.INTER_NEAREST,
        )
    ),
    st.tuples(st.integers(0, 2**32), st.sampled_from([0.01, 0.5])).map(
        lambda drawn: (np.random.default_rng(drawn[0]).random(HALF_SIZE) < drawn[1]).astype(np.uint8)
    ),
    st.sampled_from([NO_BAND, np.ones(HALF_SIZE, np.uint8)]),
)


@given(st.lists(any_runs, min_size=4, max_size=4), bands, sizes)
@settings(max_examples=20)
def test_mask_bits_are_those_of_decoding_subtracting_and_averaging(
    classes: list[rle.Runs], band: np.ndarray, size: tuple[int, int]
) -> None:
    empty = band.repeat(2, axis=0).repeat(2, axis=1).astype(bool)
    expected = np.zeros(size, np.uint8)
    for i, runs in enumerate(classes):
        expected[2 * area_average(painted(runs) & ~empty, size) >= PIXELS] |= 1 << i
    expected[2 * area_average(empty, size) >= PIXELS] = NO_DATA
    (got,) = mask_bits(classes, band, (size,))
    np.testing.assert_array_equal(got, expected)


# Exactly one half


def test_exactly_one_half_counts_and_one_pixel_less_does_not() -> None:
    mask = np.zeros(SOURCE_SIZE, bool)
    mask[0:4, 0:2] = True
    mask[0:4, 4:6] = True
    mask[0, 4] = False
    (truth,) = mask_bits([rle.find(mask)], NO_BAND, (TRUTH_SIZE,))
    assert truth[0, :2].tolist() == [1, 0]


def test_a_half_that_floating_point_misses_counts() -> None:
    mask = np.zeros(SOURCE_SIZE, bool)
    mask[:700] = True
    (got,) = mask_bits([rle.find(mask)], NO_BAND, ((32, 1),))
    assert got[:, 0].tolist() == [1] * 16 + [0] * 16
    mask[700:, 1050:] = True
    (got,) = mask_bits([rle.find(mask)], NO_BAND, ((1, 96),))
    assert got.all()


def test_bits_are_those_of_the_classes_and_pixels_may_carry_several() -> None:
    runs = [runs_of(text) for text in (box(0, 700, 0, 2100), "", box(0, 1400, 0, 1050), "")]
    for stored in mask_bits(runs, NO_BAND, ((64, 96), TRUTH_SIZE)):
        height, width = (side // 2 for side in stored.shape)
        assert stored[: height - 1, : width - 1].tolist() == [[0b101] * (width - 1)] * (height - 1)
        assert (stored[height + 1 :, : width - 1] == 0b100).all()
        assert (stored[: height - 1, width + 1 :] == 0b001).all()
        assert (stored[height + 1 :, width + 1 :] == 0).all()


def test_no_pixel_of_the_band_carries_a_class() -> None:
    band = NO_BAND.copy()
    band[:, 300:411] = 1
    for stored in mask_bits([FULL] * 4, band, ((320, 480), (64, 96), TRUTH_SIZE)):
        assert set(np.unique(stored)) == {0b1111, NO_DATA}
        empty = 2 * area_average(band, stored.shape) >= band.size
        np.testing.assert_array_equal(stored == NO_DATA, empty)


def test_a_pixel_half_band_and_half_class_is_band_alone() -> None:
    band = NO_BAND.copy()
    band[:2, :1] = 1
    (truth,) = mask_bits([runs_of(box(0, 4, 0, 4))], band, (TRUTH_SIZE,))
    assert truth[0, 0] == NO_DATA


def test_a_class_is_measured_outside_the_band_only() -> None:
    band = NO_BAND.copy()
    band[:2, :1] = 1
    (truth,) = mask_bits([runs_of(box(0, 4, 0, 3))], band, (TRUTH_SIZE,))
    assert truth[0, 0] == NO_DATA
    band[1, 0] = 0
    (truth,) = mask_bits([runs_of(box(0, 4, 0, 2))], band, (TRUTH_SIZE,))
    assert truth[0, 0] == 0


# The black band


def half(image: np.ndarray) -> np.ndarray:
    return resized(image, HALF_SIZE)


@pytest.mark.parametrize("number", range(3))
def test_the_band_is_found_within_a_pixel(number: int) -> None:
    drawn = (picture(number).max(axis=2) == 0)[::2, ::2]
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg(picture(number)), np.uint8), 1), cv2.COLOR_BGR2RGB)
    band = black_band(half(decoded)).astype(bool)
    kernel = np.ones((3, 3), np.uint8)
    assert drawn.mean() > 0.05
    assert not (cv2.erode(drawn.astype(np.uint8), kernel).astype(bool) & ~band).any()
    assert not (band & ~cv2.dilate(drawn.astype(np.uint8), kernel, iterations=2).astype(bool)).any()


def test_lines_drawn_over_the_band_belong_to_it() -> None:
    image = picture(0)
    cv2.circle(image, (520, 700), 50, (90, 90, 90), 3)
    assert black_band(half(image))[320:380, 230:290].all()


@pytest.mark.parametrize(
    ("what", "area", "value"),
    [
        ("dark ocean", np.s_[:, :800], 8),
        ("a black area off the border", np.s_[300:900, 300:900], 0),
        ("a black speck at the border", np.s_[:40, :40], 0),
        ("nothing", np.s_[:0, :0], 0),
    ],
)
def test_what_is_no_band(what: str, area: tuple[slice, slice], value: int) -> None:
    image = picture(0, band=False)
    image[area] = value
    assert not black_band(half(image)).any(), what


def test_a_whole_black_image_is_band() -> None:
    assert black_band(np.zeros((*HALF_SIZE, 3), np.uint8)).all()


@given(st.integers(0, 2**32), st.tuples(st.integers(1, 200), st.integers(1, 200)), st.integers(1, 60))
@settings(max_examples=100)
def test_the_band_is_that_of_its_definition(seed: int, size: tuple[int, int], blot: int) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, 40, (*size, 3), np.uint8)
    for top, left in random.integers(-blot, max(size), (12, 2)):
        image[max(top, 0) : top + blot, max(left, 0) : left + blot] = random.choice((0, 1, 2, 3, 10, 13))
    image[random.random(size) < 0.02] = 90
    np.testing.assert_array_equal(black_band(image), band_by_definition(image))


def band_by_definition(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W), by scipy: near-black pixels closed and opened by 5x5, and of the areas those that are a band."""
    brightest, square = image.max(axis=2).astype(int), np.ones((5, 5), bool)
    near = ndimage.binary_dilation(brightest <= 10, square)
    near = ndimage.binary_erosion(near, square, border_value=1)
    near = ndimage.binary_erosion(near, square, border_value=1)
    near = ndimage.binary_dilation(near, square)
    areas, count = ndimage.label(near)
    band = np.zeros(near.shape, np.uint8)
    for area in range(1, count + 1):
        inside = areas == area
        on_border = inside[[0, -1]].any() or inside[:, [0, -1]].any()
        if on_border and inside.sum() >= 0.001 * inside.size:
            band[inside] = np.minimum(brightest[inside], 11).mean() <= 2
    return band


def test_two_bands_are_found_and_the_sea_between_them_is_not() -> None:
    image = picture(0, band=False)
    image[:, :200] = image[:, 1900:] = 0
    band = black_band(half(image))
    assert band[:, :98].all() and band[:, 952:].all()
    assert not band[:, 102:948].any()
