"""Pictures of any size -> what networks take, made as the shards were."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.errors import DataError
from preprocess.area import resized
from preprocess.images import HALF_SIZE, JPEG, MOST_PIXELS, ImageError, black_band, decode_image

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def read(path: Path) -> np.ndarray:
    """The pixels of a JPEG, PNG or TIFF (GeoTIFF too) file, as `decode` gives them. Raises DataError if it is not one,
    or larger than 64 million pixels."""
    try:
        return decode(path.read_bytes())
    except (ImageError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path}: {reason}") from error


def decode(content: bytes) -> np.ndarray:
    """The pixels of a JPEG, PNG or TIFF file's bytes, whatever its name: RGB uint8 (H, W, 3). Raises ImageError."""
    if content.startswith(JPEG):
        return decode_image(content, half=False, any_size=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=("PNG", "TIFF")) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ImageError(
                        f"is {image.width}x{image.height}, more than {MOST_PIXELS // 1_000_000} million pixels"
                    )
                if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK"):
                    raise ImageError(f"has pixels of the kind {image.mode}; 8 bits a colour are understood")
                return np.asarray(image.convert("RGB"))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("is not a JPEG, PNG or TIFF picture" if content else "is empty") from None
    except Exception as error:  # Pillow's decoders raise whatever they meet
        raise ImageError(f"is damaged: {error}") from error


def prepare(picture: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture at `size`, uint8 (*size, 3), and which pixels have data, bool (350, 525)."""
    band = black_band(resized(picture, HALF_SIZE))
    valid = cv2.resize(band, TRUTH_SIZE[::-1], interpolation=cv2.INTER_AREA) == 0
    return resized(picture, size), valid
