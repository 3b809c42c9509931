"""JPEG files -> pixels, and images made smaller: what is read, how it is turned, and what is refused why."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cloudseg.core.errors import CloudsegError, UsageError
from preprocess.area import resized
from preprocess.images import HALF_SIZE, ImageError, read_image
from tests.preprocess_source import HEIGHT, ROOT, WIDTH, claiming, jpeg, jpeg_as, picture


def stored(folder: Path, data: bytes) -> Path:
    (folder / "a.jpg").write_bytes(data)
    return folder / "a.jpg"


# What is read


@pytest.mark.parametrize("half", [False, True])
def test_an_image_is_read_as_rgb(tmp_path: Path, half: bool) -> None:
    path = stored(tmp_path, jpeg(np.full((HEIGHT, WIDTH, 3), (200, 100, 20), np.uint8)))
    image = read_image(path, half)
    assert (image.shape, image.dtype) == ((*HALF_SIZE, 3) if half else (HEIGHT, WIDTH, 3), np.uint8)
    assert np.abs(image.astype(int) - (200, 100, 20)).max() <= 3


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("L", {"progressive": True}), ("CMYK", {})],
)
def test_every_kind_of_jpeg_gives_the_pixels_that_pillow_finds(
    tmp_path: Path, mode: str, options: dict[str, object]
) -> None:
    path = stored(tmp_path, jpeg_as(picture(0), mode, **options))
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read_image(path, half=False) - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("half", [False, True])
def test_an_image_is_turned_upright_as_its_exif_says(tmp_path: Path, orientation: int, half: bool) -> None:
    lying = picture(0) if orientation < 5 else np.ascontiguousarray(picture(0).transpose(1, 0, 2))
    path = stored(tmp_path, jpeg_as(lying, orientation=orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    image = read_image(path, half)
    assert expected.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(resized(image, HALF_SIZE).astype(int) - resized(expected, HALF_SIZE)).mean() < 0.5
    if not half:
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_there_is_not_leaves_the_image_as_it_is(tmp_path: Path, orientation: int) -> None:
    path = stored(tmp_path, jpeg_as(picture(0), orientation=orientation))
    np.testing.assert_array_equal(read_image(path, half=False), np.asarray(Image.open(path)))


@pytest.mark.parametrize(
    ("place", "content"), [(0, b"\xff" * 12), (8, b"\x7f\x7f"), (4, b"\x7f" * 4), (10, b"\xff" * 12)]
)
def test_damaged_exif_does_not_spoil_an_image_and_nothing_is_said_of_it(
    tmp_path: Path, place: int, content: bytes
) -> None:
    data = jpeg_as(picture(0), orientation=1)
    place += data.index(b"Exif\0\0") + 6
    path = stored(tmp_path, data[:place] + content + data[place + len(content) :])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path, half=False).shape == (HEIGHT, WIDTH, 3)


def test_bytes_behind_the_end_of_an_image_do_no_harm(tmp_path: Path) -> None:
    data = jpeg(picture(0))
    expected = read_image(stored(tmp_path, data), half=True)
    np.testing.assert_array_equal(read_image(stored(tmp_path, data + b"\0" * 100), half=True), expected)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"restart_marker_rows": 2}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("L", {}),
        ("CMYK", {}),
    ],
    ids=["420", "progressive", "restarts", "444", "422", "grey", "cmyk"],
)
def test_half_size_is_close_to_the_mean_of_2x2_pixels(tmp_path: Path, mode: str, options: dict[str, object]) -> None:
    path = stored(tmp_path, jpeg_as(picture(1), mode, **options))
    difference = read_image(path, half=True).astype(int) - resized(read_image(path, half=False), HALF_SIZE)
    assert np.abs(difference).mean() < 0.5


# What is refused


def with_a_hole(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(2000) + data[len(data) // 2 + 2000 :]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: b"\x89PNG" + data, "is not a JPEG file"),
        (lambda data: data[:2], "is damaged: "),
        (lambda data: data[:-2], "is damaged: Premature end of JPEG file"),
        (lambda data: data[: len(data) // 2], "is damaged: Premature end of JPEG file"),
        (lambda data: data[:200] + b"\xff\xd9", "is damaged: "),
        (lambda data: data[: len(data) // 2] + b"\xff\xd9", "is damaged: Corrupt JPEG data"),
        (with_a_hole, "is damaged: Corrupt JPEG data"),
        (lambda data: jpeg(np.zeros((WIDTH, HEIGHT, 3), np.uint8)), "is 1400x2100 in place of 2100x1400"),
        (lambda data: jpeg(np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8)), "is 2100x1401 in place of 2100x1400"),
        (lambda data: jpeg(np.zeros((*HALF_SIZE, 3), np.uint8)), "is 1050x700 in place of 2100x1400"),
        (lambda data: jpeg_as(picture(0), orientation=6), "is 1400x2100 in place of 2100x1400"),
        (lambda data: claiming(data, WIDTH, HEIGHT - 1), "is 2100x1399 in place of 2100x1400"),
        (lambda data: claiming(data, 0, HEIGHT), "is damaged: "),
        (lambda data: claiming(data, WIDTH, 0), "is damaged: "),
    ],
)
@pytest.mark.parametrize("half", [False, True])
def test_a_bad_image_is_refused_with_the_reason(
    tmp_path: Path, spoil: Callable[[bytes], bytes], reason: str, half: bool
) -> None:
    path = stored(tmp_path, spoil(jpeg(picture(0))))
    with pytest.raises(ImageError, match=reason):
        read_image(path, half)


def test_nothing_but_the_reason_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError):
        read_image(stored(tmp_path, with_a_hole(jpeg(picture(0)))), half=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("width", "height"), [(30000, 30000), (65500, 65500), (9000, 9000), (65500, 1400)])
@pytest.mark.parametrize("any_size", [False, True])
@pytest.mark.parametrize("orientation", [None, 6])
def test_a_gigantic_size_in_the_header_is_refused_without_a_word(
    tmp_path: Path, width: int, height: int, any_size: bool, orientation: int | None
) -> None:
    path = stored(tmp_path, claiming(jpeg_as(picture(0), orientation=orientation), width, height))
    with warnings.catch_warnings(), pytest.raises(ImageError, match=r"more than 64 million pixels"):
        warnings.simplefilter("error")
        read_image(path, half=True, any_size=any_size)


def test_a_gigantic_size_in_the_header_costs_no_memory(tmp_path: Path) -> None:
    path = stored(tmp_path, claiming(jpeg(picture(0)), 30000, 30000))
    code = (
        "import sys, pathlib\nfrom preprocess.images import ImageError, read_image\n"
        "try:\n    read_image(pathlib.Path(sys.argv[1]), half=False, any_size=True)\n"
        "except ImageError as error:\n    print(error)\n"
    )
    most = 1 << 30  # of address space; the image would take 2.7 GB
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
    )
    assert done.stdout == "is 30000x30000, more than 64 million pixels\n", done.stderr


def with_more_scans(data: bytes, scans: int) -> bytes:
    """A progressive JPEG with so many empty scans at its end."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + (data[last : last + 10] + b"\0") * scans + data[-2:]


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, with_more_scans(jpeg_as(picture(0), progressive=True), 100))
    with pytest.raises(ImageError, match="has more than 100 scans"):
        read_image(path, half=True)


def test_scans_are_counted_behind_a_comment_that_looks_like_one(tmp_path: Path) -> None:
    data = with_more_scans(jpeg_as(picture(0), progressive=True), 100)
    comment = b"\xff\xfe\x00\x0a" + b"\xff\xda\x00\x0c\x03abc"
    path = stored(tmp_path, data[:2] + comment + data[2:])
    with pytest.raises(ImageError, match="has more than 100 scans"):
        read_image(path, half=True)


# Other sizes


@pytest.mark.parametrize("size", [(700, 1050), (1401, 2100), (2100, 1400), (33, 17), (1, 1)])
@pytest.mark.parametrize("half", [False, True])
def test_any_size_lets_an_image_through_as_it_is(tmp_path: Path, size: tuple[int, int], half: bool) -> None:
    path = stored(tmp_path, jpeg(np.full((*size, 3), 128, np.uint8)))
    assert read_image(path, half, any_size=True).shape == (*size, 3)


# What cannot be read


def test_a_file_that_is_not_there_is_a_bad_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="cannot be read: No such file or directory"):
        read_image(tmp_path / "a.jpg", half=True)


def test_a_folder_is_a_bad_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        read_image(tmp_path, half=True)


def test_a_file_that_one_may_not_read_is_a_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", failing(PermissionError(13, "Permission denied")))
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read_image(tmp_path / "a.jpg", half=True)


@pytest.mark.parametrize("number", [5, 116, 110, 107])
def test_a_file_system_that_fails_says_nothing_about_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Path, "read_bytes", failing(OSError(number, os.strerror(number))))
    with pytest.raises(CloudsegError, match=rf"a\.jpg cannot be read: {os.strerror(number)}") as stopped:
        read_image(tmp_path / "a.jpg", half=True)
    assert not isinstance(stopped.value, UsageError)
    assert stopped.value.exit_code == 1


def failing(error: OSError) -> Callable[[Path], bytes]:
    def read_bytes(path: Path) -> bytes:
        raise error

    return read_bytes


# Smaller


@given(st.tuples(*[st.integers(1, 90)] * 2), st.tuples(*[st.integers(1, 90)] * 2), st.integers(0, 2**32))
@settings(max_examples=150)
def test_an_image_made_smaller_is_the_mean_of_the_area_as_of_opencv(
    large: tuple[int, int], small: tuple[int, int], seed: int
) -> None:
    small = (min(large[0], small[0]), min(large[1], small[1]))
    image = np.random.default_rng(seed).integers(0, 256, (*large, 3), np.uint8)
    got = resized(image, small)
    assert (got.shape, got.dtype) == ((*small, 3), np.uint8)
    exact = cv2.resize(image.astype(np.float64), small[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(got - exact.reshape(got.shape)).max() < 0.51
    rounded = cv2.resize(image, small[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(got.astype(int) - rounded.reshape(got.shape)).max() <= 1


@pytest.mark.parametrize("size", [(320, 480), (64, 96), (672, 1024), (350, 525), (1376, 2080), HALF_SIZE])
@pytest.mark.parametrize("large", [HALF_SIZE, (HEIGHT, WIDTH)])
def test_whole_images_are_made_smaller_as_by_opencv(large: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*large, 3), np.uint8)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if size <= large else cv2.INTER_LINEAR)
    assert np.abs(resized(image, size).astype(int) - expected).max() <= 1


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    np.testing.assert_array_equal(resized(image, (64, 96)), image)


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_an_even_colour_stays_what_it_is(value: int) -> None:
    assert set(np.unique(resized(np.full((*HALF_SIZE, 3), value, np.uint8), (320, 480)))) == {value}
