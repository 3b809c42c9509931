"""Reads the tags of a TIFF file that Pillow ignores: no-data pixels, and the meaning of the samples.

Sources: TIFF 6.0 (Adobe, 1992) for tags; GDAL's driver GTiff for the no-data value and internal masks.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import II, MM, OPEN_INFO, ImageFileDirectory_v2

from preprocess.images import ImageError, too_deep, turned

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF file; the last two are BigTIFF."""
MAX_DIRECTORIES = 100

SUBFILE, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, EXTRA, FORMAT = 254, 258, 259, 262, 274, 277, 338, 339
GDAL_NODATA = 42113
JPEG = 7
"""Value of COMPRESSION for JPEG."""
REDUCED, MASK = 1, 4
"""Bits of NewSubfileType: a reduced version of another directory's picture; a mask of one."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
TRANSPARENCY_MASK = 4
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
"""Number of colour samples of a pixel, by photometric interpretation."""
FORMATS = {2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}

# Pillow does not open transparency masks by itself. Their set bits, read as white, are pixels with data.
for _order, _mark in ((II, 1), (MM, 1), (II, 2), (MM, 2)):
    OPEN_INFO.setdefault((_order, TRANSPARENCY_MASK, (1,), _mark, (1,), ()), ("1", "1" if _mark == 1 else "1;R"))
    OPEN_INFO.setdefault((_order, TRANSPARENCY_MASK, (1,), _mark, (8,), ()), ("L", "L" if _mark == 1 else "L;R"))


class Tags:
    """The tags of a file's only picture, and of its mask if it has one."""

    def __init__(self, content: bytes) -> None:
        """Raises ImageError, which says what to do, unless the file holds exactly one picture of 8 bits per sample in a
        known colour space. Damaged tags raise the errors of Pillow's parser."""
        directories = _directories(content)
        self.picture = directories[0]
        kinds = [_integer(tags, SUBFILE, 0) for tags in directories]
        pages = sum(not kind & (REDUCED | MASK) for kind in kinds)
        if pages != 1 or kinds[0] & (REDUCED | MASK):
            raise ImageError(
                f"holds {pages} pictures; give one per file: split it, for example with tiffsplit"
                if pages > 1
                else "begins with a preview or a mask of a picture; save only the picture"
            )
        self.mask = next((i for i, kind in enumerate(kinds) if kind & MASK and not kind & REDUCED), None)
        self._mask_is_upright = self.mask is not None and ORIENTATION in directories[self.mask]
        _check_samples(self.picture)

    @property
    def orientation(self) -> int:
        return _integer(self.picture, ORIENTATION, 1)

    def without_data(self, image: Image.Image) -> np.ndarray | None:
        """No-data pixels of the loaded picture by GDAL's tag or by its mask, bool (H, W), upright; None without both.

        Raises ImageError if the tag is not a number, or if the mask has another size.
        """
        value = self._nodata()
        without_data = None
        if value is not None:
            samples = np.asarray(image)
            if image.mode in ("RGBA", "LA", "PA"):
                samples = samples[..., :-1]
            if image.mode == "1" or _integer(self.picture, PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO:
                value = self._as_decoded(value)
            without_data = samples == value
            without_data = without_data.all(axis=2) if without_data.ndim == 3 else without_data
        if self.mask is not None:
            size = image.size
            image.seek(self.mask)
            mask = np.asarray(image.convert("L")) == 0
            if not self._mask_is_upright:
                mask = turned(mask.view(np.uint8), self.orientation).view(bool)
            if mask.shape[::-1] != size:
                raise ImageError(f"has a mask of {mask.shape[1]}x{mask.shape[0]}, which is not its own size")
            without_data = mask if without_data is None else without_data | mask
        return without_data

    def _nodata(self) -> float | None:
        text = self.picture.get(GDAL_NODATA)
        if text is None:
            return None
        try:
            return float(str(text).strip(" \0"))
        except ValueError:
            raise ImageError(f"has the no-data value {text!r} (GDAL_NODATA), which is not a number") from None

    def _as_decoded(self, value: float) -> float:
        """Convert a value of the file to Pillow's: 0 to 255, with 0 for black."""
        largest = 2 ** _integer(self.picture, BITS, 1) - 1
        decoded = value * 255 / largest
        return 255 - decoded if _integer(self.picture, PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO else decoded


def _directories(content: bytes) -> list[ImageFileDirectory_v2]:
    big = content[2:4] in (b"+\0", b"\0+")
    stream, header = io.BytesIO(content), content[: 16 if big else 8]
    directories: list[ImageFileDirectory_v2] = []
    offset, seen = ImageFileDirectory_v2(header).next, set()
    while offset and offset not in seen and len(directories) < MAX_DIRECTORIES:
        seen.add(offset)
        stream.seek(offset)
        tags = ImageFileDirectory_v2(header)
        tags.load(stream)
        directories.append(tags)
        offset = tags.next
    if not directories:
        raise ImageError("is damaged: it has no directory")
    return directories


def _check_samples(tags: ImageFileDirectory_v2) -> None:
    """Raises ImageError unless the samples have 8 bits and their colours are known."""
    bits, formats = _integers(tags, BITS, (1,)), _integers(tags, FORMAT, (1,))
    samples, extra = _integer(tags, SAMPLES, 1), _integers(tags, EXTRA, ())
    kind = next((FORMATS[each] for each in formats if each in FORMATS), None)
    if kind or max(bits) > 8:
        raise ImageError(too_deep(max(bits), kind))
    photometric = _integer(tags, PHOTOMETRIC, BLACK_IS_ZERO)
    if photometric not in COLOURS:
        raise ImageError(f"has colours of the kind {photometric} (PhotometricInterpretation); save it as RGB")
    if photometric == YCBCR and _integer(tags, COMPRESSION, 1) != JPEG:
        raise ImageError("has YCbCr colours without JPEG compression; save it as RGB")
    colours = COLOURS[photometric]
    # By the standard, ExtraSamples names each sample beyond the colours. Without it, one extra sample is taken as
    # transparency, as Pillow does.
    if samples != colours + len(extra) and (extra or samples != colours + 1 or photometric != RGB):
        raise ImageError(_unnamed_bands(samples))
    if photometric == BLACK_IS_ZERO and extra and extra != (2,):
        raise ImageError(_unnamed_bands(samples))


def _unnamed_bands(samples: int) -> str:
    return (
        f"has {samples} bands of which none is named red, green or blue; choose three, for example with "
        "gdal_translate -b 1 -b 2 -b 3 -co PHOTOMETRIC=RGB"
    )


def _integer(tags: ImageFileDirectory_v2, tag: int, default: int) -> int:
    return _integers(tags, tag, (default,))[0]


def _integers(tags: ImageFileDirectory_v2, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    value: Any = tags.get(tag, default)
    return tuple(int(each) for each in value) if isinstance(value, tuple) else (int(value),)
