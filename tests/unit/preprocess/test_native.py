"""The compiled part is that of the source at hand, or says what to type; and which JPEGs it decodes itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from cloudseg.core.errors import CloudsegError
from cloudseg.data.labels import SOURCE_SIZE
from preprocess import native
from tests.preprocess_source import HEIGHT, WIDTH, claiming, jpeg_as, picture


@pytest.fixture
def afresh() -> Iterator[None]:
    """The library is loaded anew within the test, and after it."""
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def test_a_missing_library_is_answered_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: None
) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "libcloudseg-native.so")
    with pytest.raises(CloudsegError, match=r"libcloudseg-native\.so.*run env/setup\.sh"):
        native.library()


def test_a_library_of_another_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: None) -> None:
    folder = shutil.copytree(native.FOLDER, tmp_path / "native")
    with (folder / "band.cpp").open("a") as file:
        file.write("\n")
    monkeypatch.setattr(native, "FOLDER", folder)
    with pytest.raises(CloudsegError, match=r"another version of .*run env/setup\.sh"):
        native.library()


# JPEGs at half size


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """A picture in which every frequency occurs, and every level."""
    random = np.random.default_rng(0)
    blotches = np.kron(random.integers(-60, 60, (HEIGHT // 20, WIDTH // 20, 3)), np.ones((20, 20, 1), int))
    return np.clip(picture(0) + blotches + random.integers(-30, 30, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [30, 75, 95, 100])
def test_each_pixel_is_the_mean_of_two_by_two_as_libjpegs(noisy: np.ndarray, quality: int) -> None:
    data = simplejpeg.encode_jpeg(noisy, quality, colorsubsampling="420")
    image = native.decode_half(data, SOURCE_SIZE)
    assert image is not None
    theirs = simplejpeg.decode_jpeg(data, "RGB", min_height=HEIGHT // 2, min_width=WIDTH // 2).astype(int)
    assert np.quantile(np.abs(image - theirs), 0.999) <= 2
    assert abs((image - theirs).mean()) < 0.1


@pytest.mark.parametrize("size", [(16, 16), (2, 2), (34, 50), (16, 30)], ids=str)
def test_images_of_any_even_size_are_whole(noisy: np.ndarray, size: tuple[int, int]) -> None:
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(noisy[: size[0], : size[1]]), 90, colorsubsampling="420")
    image = native.decode_half(data, size)
    assert image is not None
    theirs = simplejpeg.decode_jpeg(data, "RGB", min_height=size[0] // 2, min_width=size[1] // 2, min_factor=2)
    assert np.abs(image.astype(int) - theirs).max() <= 4


@pytest.mark.parametrize(
    "data",
    [
        jpeg_as(picture(0), progressive=True),
        jpeg_as(picture(0), restart_marker_rows=2),
        jpeg_as(picture(0), "L"),
        jpeg_as(picture(0), "CMYK"),
        jpeg_as(picture(0), subsampling=0),
        jpeg_as(picture(0), subsampling=1),
        claiming(jpeg_as(picture(0)), WIDTH + 2, HEIGHT),
        jpeg_as(picture(0))[:-2],
        jpeg_as(picture(0))[:-3] + b"\xff\xd9",
        jpeg_as(picture(0))[:-2] + b"\x00\xff\xd9",
        b"\xff\xd8",
        b"",
    ],
    ids=[
        "progressive",
        "restarts",
        "grey",
        "cmyk",
        "444",
        "422",
        "other-size",
        "no-end",
        "short",
        "long",
        "bare",
        "empty",
    ],
)
def test_what_is_of_another_kind_or_not_whole_is_left_to_libjpeg(data: bytes) -> None:
    assert native.decode_half(data, SOURCE_SIZE) is None
