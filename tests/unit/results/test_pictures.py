"""Folders of pictures of any size and kind become what networks take, or are refused with a reason."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

from cloudseg.core.errors import DataError, UsageError
from cloudseg.results import pictures
from cloudseg.results.sources import Pictures


def picture(height: int = 140, width: int = 210) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (height, width, 3), np.uint8)


def save(path, image=None, **options):
    Image.fromarray(picture() if image is None else image).save(path, **options)
    return path


def read(path) -> np.ndarray:
    return pictures.decode(path.read_bytes()).pixels


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.PNG"])
def test_lossless_pictures_are_read_as_they_are(tmp_path, name):
    assert np.array_equal(read(save(tmp_path / name)), picture())
    assert Pictures(tmp_path).read(0, (64, 96)).size == (140, 210)


def test_a_geotiff_is_read(tmp_path):
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550] = (0.01, 0.01, 0.0)  # ModelPixelScale
    tags[33922] = (0.0, 0.0, 0.0, -61.0, 24.0, 0.0)  # ModelTiepoint
    assert np.array_equal(read(save(tmp_path / "geo.tif", tiffinfo=tags)), picture())


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    save(tmp_path / "grey.png", picture()[..., 0])
    assert read(tmp_path / "grey.png").shape == (140, 210, 3)
    save(tmp_path / "alpha.png", np.dstack([picture(), np.full((140, 210), 255, np.uint8)]))
    assert np.array_equal(read(tmp_path / "alpha.png"), picture())


def test_a_jpeg_turned_by_its_exif_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "turned.jpg", exif=exif)
    assert read(tmp_path / "turned.jpg").shape == (210, 140, 3)
    assert Pictures(tmp_path).read(0, (64, 96)).size == (210, 140)


def bomb() -> bytes:
    """A PNG of a few kB that asks for 400 million pixels."""
    out = io.BytesIO()
    Image.new("1", (20000, 20000)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"", "is empty"),
        ("a.png", b"GIF89a" + bytes(100), "is not a JPEG, PNG or TIFF picture"),
        ("a.jpg", b"\xff\xd8\xff\xe0 no", "is damaged"),
        ("a.jpg", b"no", "is not a JPEG, PNG or TIFF picture"),
        ("a.tif", b"II*\0" + b"\xff" * 40, "is damaged"),
        ("a.jpg", b"\xff\xd8" + b"\xff\xda\0\x08\1" * 1000, "has more than 100 scans"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*{said}"):
        Pictures(tmp_path).read(0, (64, 96))


def test_a_truncated_picture_is_refused(tmp_path):
    save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged"):
        Pictures(tmp_path).read(0, (64, 96))


def test_a_small_file_that_asks_for_gigabytes_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(bomb())
    with pytest.raises(DataError, match="pixels"):
        Pictures(tmp_path).read(0, (64, 96))


def test_pixels_of_16_bits_are_refused_rather_than_cut(tmp_path):
    Image.fromarray(np.zeros((5, 5), np.uint16)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="8 bits a colour"):
        Pictures(tmp_path).read(0, (64, 96))


def test_a_black_band_has_no_data(tmp_path):
    image = picture(700, 1050)
    image[:, 400:600] = 0
    small, valid = pictures.prepare(pictures.Picture(image), (64, 96))
    assert small.shape == (64, 96, 3)
    assert not valid[:, 205:295].any()
    assert valid[:, :195].all() and valid[:, 305:].all()


def test_a_folder_gives_its_pictures_by_name(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt"):
        (save if name != "notes.txt" else lambda path: path.write_text("x"))(tmp_path / name)
    assert Pictures(tmp_path).names == ["a.jpg", "b.png"]
    assert Pictures(tmp_path, ["b.png"]).names == ["b.png"]
    with pytest.raises(UsageError, match="lacks c.jpg and 1 more"):
        Pictures(tmp_path, ["c.jpg", "a.jpg", "d.jpg"])


@pytest.mark.parametrize(("folder", "said"), [("none", "is not a folder"), (".", "holds no picture")])
def test_a_folder_without_pictures_is_refused(tmp_path, folder, said):
    with pytest.raises(UsageError, match=said):
        Pictures(tmp_path / folder)


def test_a_damaged_picture_stops_or_is_skipped_as_told(tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match="--skip-damaged"):
        Pictures(tmp_path).read(0, (64, 96))
    skipped = Pictures(tmp_path, skip_damaged=True).read(0, (64, 96))
    assert skipped.skipped and not skipped.valid.any()
    assert "a.jpg" in capsys.readouterr().err


def test_hidden_files_folders_and_pipes_are_no_pictures(tmp_path):
    save(tmp_path / "a.png")
    for name in ("._a.png", ".hidden.jpg", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"no")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.tif")
    assert Pictures(tmp_path).names == ["a.png"]


def test_a_link_that_leads_nowhere_is_a_picture_that_cannot_be_read(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="a.png: No such file"):
        Pictures(tmp_path).read(0, (64, 96))


@pytest.mark.parametrize("now", [b"no picture any more", None])
def test_a_picture_that_changes_while_it_is_predicted_is_an_error(tmp_path, now):
    path = save(tmp_path / "a.png")
    source = Pictures(tmp_path, skip_damaged=True)
    source.digests = [source.digest(0)]
    assert source.read(0, (64, 96)).size == (140, 210)
    if now is None:
        save(path, picture()[::-1].copy())
    else:
        path.write_bytes(now)
    with pytest.raises(DataError, match="a.png changed during the prediction; run the command again"):
        source.read(0, (64, 96))


def test_a_picture_without_data_is_told_of(tmp_path, capsys):
    save(tmp_path / "a.png", np.zeros((140, 210, 4), np.uint8))
    assert not Pictures(tmp_path).read(0, (64, 96)).valid.any()
    assert "a.png: no pixel has data; its masks are empty" in capsys.readouterr().err
