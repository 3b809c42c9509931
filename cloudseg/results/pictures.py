"""Decodes pictures of any size, and prepares them for networks in the same way as the shards."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.results import tiff
from preprocess.area import resized
from preprocess.images import (
    HALF_SIZE,
    JPEG,
    MOST_PIXELS,
    ORIENTATION,
    ImageError,
    black_band,
    decode_image,
    jpeg_size,
    too_deep,
    turned,
)

VERSION = 3
"""Version of the decoding. Raise it if the same file would give other pixels or other no-data pixels: then stored
probabilities are predicted again."""
PNG = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG file."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `pixels`, RGB uint8 (H, W, 3), upright, black without data; `without_data`, bool (H, W), the
    no-data pixels that the file marks, None if it marks none, without the black band; `halved`, whether the file has
    twice the height and width."""

    pixels: np.ndarray
    without_data: np.ndarray | None = None
    halved: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the file's picture."""
        height, width = self.pixels.shape[:2]
        return (2 * height, 2 * width) if self.halved else (height, width)


def decode(content: bytes, half: bool = False) -> Picture:
    """Decode the bytes of a JPEG, PNG or TIFF file. Raises ImageError, which says what to do.

    With `half`, JPEG files of 2100x1400 pixels are decoded at half their size, as for shards of at most that size.

    No-data pixels are those that are fully transparent (alpha, tRNS of PNG, mask of TIFF), and those whose samples all
    equal the GDAL_NODATA of a TIFF. The opacity of other pixels is ignored.
    """
    if content.startswith(JPEG):
        pixels = decode_image(content, half=half, any_size=True)
        return Picture(pixels, halved=pixels.shape[:2] != jpeg_size(content) and pixels.shape[:2] == HALF_SIZE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags = tiff.Tags(content) if content.startswith(tiff.MARKS) else None
            if content.startswith(PNG):
                _check_png(content)
            with Image.open(io.BytesIO(content), formats=("PNG", "TIFF")) as image:
                return _decoded(image, tags, content)
    except ImageError:
        raise
    except UnidentifiedImageError:
        if content.startswith((PNG, *tiff.MARKS)):
            raise ImageError("is damaged, or of a kind of PNG or TIFF that is not supported; save it as RGB") from None
        raise ImageError("is not a JPEG, PNG or TIFF picture" if content else "is empty") from None
    except Exception as error:  # Pillow's decoders raise errors of many classes
        raise ImageError(f"is damaged: {error}") from error


def _decoded(image: Image.Image, tags: tiff.Tags | None, content: bytes) -> Picture:
    if image.width * image.height > MOST_PIXELS:
        raise ImageError(f"is {image.width}x{image.height}, more than {MOST_PIXELS // 1_000_000} million pixels")
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr"):
        raise ImageError(f"has pixels of the kind {image.mode}; 8 bits a colour are understood")
    if tags is None and getattr(image, "is_animated", False):
        raise ImageError("is animated; save one picture of it as a file of its own")
    orientation = 1 if tags else image.getexif().get(ORIENTATION, 1)  # Pillow applies the orientation of TIFF files
    image.load()
    pixels = np.array(image.convert("RGB"))
    candidates = [_transparent(image, content)]
    if tags:
        candidates.append(tags.without_data(image))
    masks = [mask for mask in candidates if mask is not None]
    without_data = np.logical_or.reduce(masks) if masks else None
    if without_data is not None:
        pixels[without_data] = 0  # like the black band, which networks know from training
        without_data = turned(without_data.view(np.uint8), orientation).view(bool)
    return Picture(turned(pixels, orientation), without_data)


def _transparent(image: Image.Image, content: bytes) -> np.ndarray | None:
    """Fully transparent pixels, bool (H, W); None if the picture has no transparency."""
    if image.mode in ("RGBA", "LA", "PA"):
        return np.asarray(image.getchannel("A")) == 0
    key = image.info.get("transparency")  # a PNG's tRNS
    if key is None:
        return None
    if isinstance(key, bytes):  # opacity of each colour of a palette
        opacity = np.frombuffer(key.ljust(256, b"\xff"), np.uint8)
        return opacity[np.asarray(image)] == 0
    if image.mode == "1":
        return np.asarray(image) == bool(key)
    if image.mode == "L":
        key = key * 255 // (2 ** _png_depth(content) - 1)  # Pillow scales the values to 8 bits, but not the key
    return np.all(np.asarray(image).reshape(*image.size[::-1], -1) == np.array(key), axis=2)


def _check_png(content: bytes) -> None:
    """Raises ImageError for more than 8 bits per colour, as Pillow drops the lower bits."""
    if (depth := _png_depth(content)) > 8:
        raise ImageError(too_deep(depth))


def _png_depth(content: bytes) -> int:
    """Bits per sample, from IHDR, the first chunk of a PNG."""
    return content[24] if content[12:16] == b"IHDR" else 8


def prepare(picture: Picture, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Resize a picture to `size`: uint8 (*size, 3), and its pixels with data, bool (350, 525).

    A pixel has data if the black band covers less than half of it, and no other no-data pixel overlaps it.
    """
    band = black_band(resized(picture.pixels, HALF_SIZE))
    valid = cv2.resize(band, TRUTH_SIZE[::-1], interpolation=cv2.INTER_AREA) == 0
    if picture.without_data is not None:
        valid &= ~_overlapped(picture.without_data, TRUTH_SIZE)
    return resized(picture.pixels, size), valid


def _overlapped(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels of a grid of `size` over the same area that overlap a pixel of `mask`, bool (H, W): bool `size`."""
    for axis, cells in enumerate(size):
        pixels, edges = mask.shape[axis], np.arange(cells + 1)
        first, end = edges[:-1] * pixels // cells, -(-edges[1:] * pixels // cells)
        padding = [(0, int(each == axis)) for each in range(2)]  # reduceat does not accept the length as an end
        spans = np.stack([first, end], axis=1).reshape(-1)
        mask = np.logical_or.reduceat(np.pad(mask, padding), spans, axis=axis).take(range(0, 2 * cells, 2), axis)
    return mask
