"""What the tags of a TIFF file say that Pillow leaves out: which pixels have no data, and what its samples are.

Tags and their values: TIFF 6.0 (Adobe, 1992); value without data and internal masks: GDAL's driver GTiff.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import II, MM, OPEN_INFO, ImageFileDirectory_v2

from preprocess.images import ImageError, too_deep, turned

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF file begins; the last two are BigTIFF."""
MOST_DIRECTORIES = 100

SUBFILE, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, EXTRA, FORMAT = 254, 258, 259, 262, 274, 277, 338, 339
GDAL_NODATA = 42113
JPEG = 7
"""A value of COMPRESSION."""
REDUCED, MASK = 1, 4
"""Bits of NewSubfileType: a smaller version of another directory's picture; a mask of one."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
TRANSPARENCY_MASK = 4
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
"""Samples of a pixel that are its colour, by photometric interpretation."""
FORMATS = {2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}

# Pillow opens no transparency masks. Their set bits are the pixels that have data, as white is in black and white.
for _order, _mark in ((II, 1), (MM, 1), (II, 2), (MM, 2)):
    OPEN_INFO.setdefault((_order, TRANSPARENCY_MASK, (1,), _mark, (1,), ()), ("1", "1" if _mark == 1 else "1;R"))
    OPEN_INFO.setdefault((_order, TRANSPARENCY_MASK, (1,), _mark, (8,), ()), ("L", "L" if _mark == 1 else "L;R"))


class Tags:
    """The tags of a file's one picture, and of its mask if there is one."""

    def __init__(self, content: bytes) -> None:
        """Raises ImageError, which says what to do, if the file holds not exactly one picture of 8 bits a sample whose
        colours are known; what Pillow's parser raises for damaged tags."""
        found = _directories(content)
        self.picture = found[0]
        kinds = [_integer(tags, SUBFILE, 0) for tags in found]
        pages = sum(not kind & (REDUCED | MASK) for kind in kinds)
        if pages != 1 or kinds[0] & (REDUCED | MASK):
            raise ImageError(
                f"holds {pages} pictures; one a file is understood: take them apart, for example with tiffsplit"
                if pages > 1
                else "begins with a preview or a mask of a picture; save the picture alone"
            )
        self.mask = next((i for i, kind in enumerate(kinds) if kind & MASK and not kind & REDUCED), None)
        self._mask_is_upright = self.mask is not None and ORIENTATION in found[self.mask]
        _check_samples(self.picture)

    @property
    def orientation(self) -> int:
        return _integer(self.picture, ORIENTATION, 1)

    def without_data(self, image: Image.Image) -> np.ndarray | None:
        """Where the picture, which is loaded, has no data by GDAL's tag or by its mask: bool (H, W), upright; None if
        there is neither. Raises ImageError if the tag holds no number or the mask is of another size."""
        value = self._nodata()
        found = None
        if value is not None:
            samples = np.asarray(image)
            if image.mode in ("RGBA", "LA", "PA"):
                samples = samples[..., :-1]
            if image.mode == "1" or _integer(self.picture, PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO:
                value = self._as_shown(value)
            found = samples == value
            found = found.all(axis=2) if found.ndim == 3 else found
        if self.mask is not None:
            size = image.size
            image.seek(self.mask)
            mask = np.asarray(image.convert("L")) == 0
            if not self._mask_is_upright:
                mask = turned(mask.view(np.uint8), self.orientation).view(bool)
            if mask.shape[::-1] != size:
                raise ImageError(f"has a mask of {mask.shape[1]}x{mask.shape[0]}, which is not its own size")
            found = mask if found is None else found | mask
        return found

    def _nodata(self) -> float | None:
        text = self.picture.get(GDAL_NODATA)
        if text is None:
            return None
        try:
            return float(str(text).strip(" \0"))
        except ValueError:
            raise ImageError(f"has {text!r} for its value without data (GDAL_NODATA), which is no number") from None

    def _as_shown(self, value: float) -> float:
        """A value of the file as Pillow shows it: 0 to 255, and 0 for black."""
        most = 2 ** _integer(self.picture, BITS, 1) - 1
        shown = value * 255 / most
        return 255 - shown if _integer(self.picture, PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO else shown


def _directories(content: bytes) -> list[ImageFileDirectory_v2]:
    big = content[2:4] in (b"+\0", b"\0+")
    stream, header = io.BytesIO(content), content[: 16 if big else 8]
    found: list[ImageFileDirectory_v2] = []
    after, seen = ImageFileDirectory_v2(header).next, set()
    while after and after not in seen and len(found) < MOST_DIRECTORIES:
        seen.add(after)
        stream.seek(after)
        tags = ImageFileDirectory_v2(header)
        tags.load(stream)
        found.append(tags)
        after = tags.next
    if not found:
        raise ImageError("is damaged: it has no directory")
    return found


def _check_samples(tags: ImageFileDirectory_v2) -> None:
    bits, formats = _integers(tags, BITS, (1,)), _integers(tags, FORMAT, (1,))
    samples, extra = _integer(tags, SAMPLES, 1), _integers(tags, EXTRA, ())
    kind = next((FORMATS[each] for each in formats if each in FORMATS), None)
    if kind or max(bits) > 8:
        raise ImageError(too_deep(max(bits), kind))
    photometric = _integer(tags, PHOTOMETRIC, BLACK_IS_ZERO)
    if photometric not in COLOURS:
        raise ImageError(f"has colours of the kind {photometric} (PhotometricInterpretation); save it as RGB")
    if photometric == YCBCR and _integer(tags, COMPRESSION, 1) != JPEG:
        raise ImageError("has the colours YCbCr outside of JPEG compression; save it as RGB")
    colours = COLOURS[photometric]
    # By the standard each sample beyond the colour is named in ExtraSamples; where it is missing, one is taken for
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
