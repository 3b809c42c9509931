"""Every kind of PNG and TIFF that a satellite picture comes in is read right, or refused with what to do."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from cloudseg.results import pictures
from cloudseg.results.export import stretched
from cloudseg.results.pictures import Picture, decode, prepare
from preprocess.images import ImageError, turned

SCENE = np.random.default_rng(0).integers(60, 200, (40, 60, 3), np.uint8)
RIGHT = np.zeros((40, 60), bool)
RIGHT[:, 30:] = True
WHITE = np.where(RIGHT[..., None], 255, SCENE).astype(np.uint8)
"""The scene, white where it has no data."""
OPAQUE = np.where(RIGHT, 0, 255).astype(np.uint8)
GREY = WHITE[..., 0]


def pil(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(out, kind, **options)
    return out.getvalue()


def tif(*pages: np.ndarray, nodata: str | None = None, big: bool = False, order: str = "<", **options) -> bytes:
    out = io.BytesIO()
    tags = [] if nodata is None else [(42113, "s", 0, nodata, True)]
    with tifffile.TiffWriter(out, bigtiff=big, byteorder=order) as file:
        for page in pages:
            file.write(page, extratags=tags, **options)
    return out.getvalue()


def tif_with_mask(mask: np.ndarray) -> bytes:
    """As GDAL writes a COG: picture, overview, mask, mask of the overview. tifffile writes no such masks of 8 bits."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        for page in (SCENE, SCENE[::2, ::2]):
            file.write(page, photometric="rgb", subfiletype=int(page is not SCENE))
        for page in (mask, mask[::2, ::2]):
            file.write(page, photometric="minisblack", compression="zlib", subfiletype=1)
    content = bytearray(out.getvalue())
    with tifffile.TiffFile(io.BytesIO(out.getvalue())) as file:
        for page, kind in ((2, 4), (3, 5)):
            for name, value in (("PhotometricInterpretation", 4), ("NewSubfileType", kind)):
                content[file.pages[page].tags[name].valueoffset] = value
    return bytes(content)


def palette() -> Image.Image:
    image = Image.fromarray(np.where(RIGHT, 7, 3).astype(np.uint8), mode="P")
    image.putpalette([value for k in range(256) for value in (k, 2 * k % 256, 9)])
    return image


def png_of_bits(depth: int, rows: np.ndarray, key: int) -> bytes:
    """A grey PNG of 1 or 2 bits whose tRNS is `key`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bits = np.unpackbits(rows[..., None], axis=2)[..., -depth:].reshape(len(rows), -1)
    data = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], depth, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"tRNS", struct.pack(">H", key)), (b"IDAT", zlib.compress(data)), (b"IEND", b"")
    return pictures.PNG + b"".join(chunk(*part) for part in parts)


RGBA = np.dstack([WHITE, OPAQUE])
ALPHA = {"photometric": "rgb", "extrasamples": ["unassalpha"]}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pil(RGBA, "PNG"), id="png alpha"),
        pytest.param(pil(WHITE, "PNG", transparency=(255, 255, 255)), id="png colour key"),
        pytest.param(tif(RGBA, **ALPHA), id="tiff alpha"),
        pytest.param(tif(RGBA.transpose(2, 0, 1).copy(), planarconfig="separate", **ALPHA), id="planes with alpha"),
        pytest.param(
            tif(np.where(RIGHT[..., None], 0, RGBA).astype(np.uint8), photometric="rgb", extrasamples=["assocalpha"]),
            id="premultiplied alpha",
        ),
        pytest.param(tif(WHITE, nodata="255", photometric="rgb"), id="nodata"),
        pytest.param(tif(WHITE, nodata="255.0", photometric="rgb", compression="zlib"), id="nodata, deflate"),
        pytest.param(tif(RGBA, nodata="255", **ALPHA), id="nodata and alpha"),
        pytest.param(tif_with_mask(OPAQUE), id="mask"),
        pytest.param(tif_with_mask(~RIGHT), id="mask of one bit"),
    ],
)
def test_where_a_picture_says_that_it_has_no_data_it_is_black_and_without(content):
    found = decode(content)
    assert np.array_equal(found.without_data, RIGHT)
    assert np.array_equal(found.pixels[~RIGHT], SCENE[~RIGHT])
    assert not found.pixels[RIGHT].any()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pil(np.dstack([GREY, OPAQUE]), "PNG"), id="png alpha"),
        pytest.param(pil(GREY, "PNG", transparency=255), id="png key"),
        pytest.param(tif(np.dstack([GREY, OPAQUE]), extrasamples=["unassalpha"], photometric="minisblack"), id="alpha"),
        pytest.param(tif(GREY, nodata="255", photometric="minisblack"), id="nodata"),
        pytest.param(tif(255 - GREY, nodata="0", photometric="miniswhite"), id="nodata, 0 is white"),
    ],
)
def test_grey_pictures_too(content):
    found = decode(content)
    assert np.array_equal(found.without_data, RIGHT)
    assert np.array_equal(found.pixels[~RIGHT], np.repeat(GREY[~RIGHT][:, None], 3, axis=1))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pil(palette(), "PNG", transparency=7), id="png, one"),
        pytest.param(pil(palette(), "PNG", transparency=bytes([255] * 7 + [0])), id="png, a table"),
        pytest.param(png_of_bits(2, np.where(RIGHT, 3, 1).astype(np.uint8), 3), id="two bits"),
        pytest.param(png_of_bits(1, RIGHT.astype(np.uint8), 1), id="one bit, white"),
        pytest.param(png_of_bits(1, (~RIGHT).astype(np.uint8), 0), id="one bit, black"),
    ],
)
def test_a_transparent_colour_of_a_palette_or_of_few_greys_has_no_data(content):
    assert np.array_equal(decode(content).without_data, RIGHT)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pil(np.dstack([SCENE, np.full((40, 60), 1, np.uint8)]), "PNG"), id="hardly opaque"),
        pytest.param(tif(SCENE, nodata="-9999", photometric="rgb"), id="nodata that no pixel can have"),
        pytest.param(tif(SCENE, nodata="nan", photometric="rgb"), id="nodata is no number"),
    ],
)
def test_colours_count_where_there_is_any_data(content):
    found = decode(content)
    assert not found.without_data.any()
    assert np.array_equal(found.pixels, SCENE)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tif(SCENE, photometric="rgb", big=True), id="BigTIFF"),
        pytest.param(tif(SCENE, photometric="rgb", order=">"), id="big-endian"),
        pytest.param(
            tif(SCENE.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate", compression="zlib"),
            id="planes",
        ),
        pytest.param(
            tif(np.dstack([SCENE, GREY, GREY]), photometric="rgb", extrasamples=["unspecified"] * 2), id="more bands"
        ),
    ],
)
def test_kinds_of_tiff_are_read_as_they_are(content):
    found = decode(content)
    assert found.without_data is None
    assert np.array_equal(found.pixels, SCENE)


DEEP = SCENE.astype(np.uint16) * 16


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(cv2.imencode(".png", DEEP)[1].tobytes(), "of 16 bits; 8 bits a colour", id="png"),
        pytest.param(tif(DEEP, photometric="rgb"), "of 16 bits; 8 bits a colour", id="tiff"),
        pytest.param(tif(DEEP, photometric="rgb", big=True), "gdal_translate -ot Byte", id="BigTIFF"),
        pytest.param(tif(np.dstack([DEEP, DEEP[..., :1]]), **ALPHA), "of 16 bits", id="tiff alpha"),
        pytest.param(tif(DEEP[..., :2], photometric="minisblack", planarconfig="contig"), "of 16 bits", id="two"),
        pytest.param(tif(np.float32(SCENE), photometric="rgb"), "floating-point values of 32 bits", id="float"),
        pytest.param(tif(SCENE[..., 0].astype(np.int8), photometric="minisblack"), "signed", id="signed"),
        pytest.param(tif(WHITE, WHITE, photometric="rgb"), "holds 2 pictures.*tiffsplit", id="pages"),
        pytest.param(
            tif(np.dstack([WHITE, GREY]), photometric="minisblack", planarconfig="contig"), "4 bands", id="bands"
        ),
        pytest.param(pil(Image.new("LAB", (6, 4)), "TIFF"), "save it as RGB", id="LAB"),
        pytest.param(pil(Image.new("YCbCr", (6, 4)), "TIFF"), "save it as RGB", id="YCbCr"),
        pytest.param(tif(WHITE, nodata="none", photometric="rgb"), "'none'.*not a number", id="nodata"),
        pytest.param(tif_with_mask(np.full((20, 30), 255, np.uint8)), "mask of 30x20", id="mask"),
        pytest.param(
            pil(SCENE, "PNG", save_all=True, append_images=[Image.new("RGB", (60, 40))]), "animated", id="apng"
        ),
    ],
)
def test_what_would_be_read_wrong_is_refused_with_what_to_do(content, said):
    with pytest.raises(ImageError, match=said):
        decode(content)


def test_a_jpeg_of_12_bits_is_refused_with_what_to_do():
    content = bytearray(pil(SCENE, "JPEG"))
    content[content.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="of 12 bits; 8 bits a colour"):
        decode(bytes(content))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_and_their_gaps_are_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for content in (
        pil(RGBA, "PNG", exif=exif),
        pil(RGBA, "TIFF", tiffinfo={274: orientation}),
        pil(RGBA, "TIFF", tiffinfo={274: orientation}, compression="tiff_lzw"),
    ):
        found = decode(content)
        assert np.array_equal(found.pixels, turned(np.where(RIGHT[..., None], 0, SCENE).astype(np.uint8), orientation))
        assert np.array_equal(found.without_data, turned(RIGHT.view(np.uint8), orientation).view(bool))


@pytest.mark.parametrize("size", [(1400, 2100), (350, 525), (64, 96), (37, 1999), (2000, 300), (351, 526), (1, 1)])
def test_no_mask_reaches_a_pixel_without_data_at_the_pictures_size(size):
    gaps = np.random.default_rng(0).random(size) < 0.01
    gaps[-1, -1] = True
    _, valid = prepare(Picture(np.full((*size, 3), 99, np.uint8), gaps), (64, 96))
    assert not (stretched(valid, size) & gaps).any()
    assert valid.any() or size == (1, 1)


def test_a_picture_without_any_data_is_read():
    _, valid = prepare(decode(pil(np.dstack([SCENE, np.zeros((40, 60), np.uint8)]), "PNG")), (64, 96))
    assert not valid.any()
