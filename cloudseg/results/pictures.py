"""Pictures of any size -> what networks take, made as the shards were."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

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
    too_deep,
    turned,
)

VERSION = 2
"""To be raised when the same file would give other pixels, or other pixels without data: probabilities that were kept
are then predicted again."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
PNG = b"\x89PNG\r\n\x1a\n"
"""How a PNG file begins."""


@dataclass(frozen=True)
class Picture:
    """`pixels` uint8 (H, W, 3) RGB, upright, black where there is no data; `without_data` bool (H, W) is where the file
    says that there is none, None if it says so nowhere. The black band is not among it."""

    pixels: np.ndarray
    without_data: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]


def is_picture(path: Path) -> bool:
    """Whether a path in a folder is meant as a picture: by its suffix, unless it is hidden (as the ._a.jpg that macOS
    leaves), a folder or a pipe. A link that leads nowhere is one, which cannot be read."""
    named = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    return named and (path.is_file() or (path.is_symlink() and not path.exists()))


def decode(content: bytes) -> Picture:
    """A JPEG, PNG or TIFF file's bytes, whatever its name. Raises ImageError, which says what to do.

    A pixel that is wholly transparent has no data (alpha, a PNG's tRNS, a TIFF's mask), nor has one whose samples all
    equal a TIFF's GDAL_NODATA; of one that is partly transparent the colour counts.
    """
    if content.startswith(JPEG):
        return Picture(decode_image(content, half=False, any_size=True))
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
            raise ImageError("is damaged, or of a kind of PNG or TIFF that is not understood; save it as RGB") from None
        raise ImageError("is not a JPEG, PNG or TIFF picture" if content else "is empty") from None
    except Exception as error:  # Pillow's decoders raise whatever they meet
        raise ImageError(f"is damaged: {error}") from error


def _decoded(image: Image.Image, tags: tiff.Tags | None, content: bytes) -> Picture:
    if image.width * image.height > MOST_PIXELS:
        raise ImageError(f"is {image.width}x{image.height}, more than {MOST_PIXELS // 1_000_000} million pixels")
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr"):
        raise ImageError(f"has pixels of the kind {image.mode}; 8 bits a colour are understood")
    if tags is None and getattr(image, "is_animated", False):
        raise ImageError("is animated; save the picture that is meant alone")
    turn = 1 if tags else image.getexif().get(ORIENTATION, 1)  # Pillow itself turns TIFF files
    image.load()
    pixels = np.array(image.convert("RGB"))
    missing = [_transparent(image, content)]
    if tags:
        missing.append(tags.without_data(image))
    found = [each for each in missing if each is not None]
    without_data = np.logical_or.reduce(found) if found else None
    if without_data is not None:
        pixels[without_data] = 0  # as the band is, which networks have seen
        without_data = turned(without_data.view(np.uint8), turn).view(bool)
    return Picture(turned(pixels, turn), without_data)


def _transparent(image: Image.Image, content: bytes) -> np.ndarray | None:
    """Where a picture is wholly transparent, bool (H, W); None if it cannot be."""
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
        key = key * 255 // (2 ** _png_depth(content) - 1)  # Pillow stretches the values, and not the key
    return np.all(np.asarray(image).reshape(*image.size[::-1], -1) == np.array(key), axis=2)


def _check_png(content: bytes) -> None:
    """Raises ImageError for more than 8 bits a colour, of which Pillow cuts the lower ones."""
    if (depth := _png_depth(content)) > 8:
        raise ImageError(too_deep(depth))


def _png_depth(content: bytes) -> int:
    """Bits a sample, of IHDR, which is a PNG's first chunk."""
    return content[24] if content[12:16] == b"IHDR" else 8


def prepare(picture: Picture, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture at `size`, uint8 (*size, 3), and which pixels have data, bool (350, 525): those that the black band
    covers by less than half, and that nothing else without data touches."""
    band = black_band(resized(picture.pixels, HALF_SIZE))
    valid = cv2.resize(band, TRUTH_SIZE[::-1], interpolation=cv2.INTER_AREA) == 0
    if picture.without_data is not None:
        valid &= ~_touched(picture.without_data, TRUTH_SIZE)
    return resized(picture.pixels, size), valid


def _touched(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which pixels of a grid of `size` over the same area share some of it with a pixel of a mask, bool (H, W)."""
    for axis, cells in enumerate(size):
        pixels, edges = mask.shape[axis], np.arange(cells + 1)
        first, end = edges[:-1] * pixels // cells, -(-edges[1:] * pixels // cells)
        padding = [(0, int(each == axis)) for each in range(2)]  # an end may be the length, which reduceat refuses
        spans = np.stack([first, end], axis=1).reshape(-1)
        mask = np.logical_or.reduceat(np.pad(mask, padding), spans, axis=axis).take(range(0, 2 * cells, 2), axis)
    return mask
