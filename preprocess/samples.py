"""One image and its labels -> one sample, or the reason why not."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from cloudseg.data.labels import CLASSES, HEADER, NO_DATA, Rejection
from cloudseg.data.shards import TRUTH_SIZE
from preprocess.images import ImageError, black_band, read_image
from preprocess.masks import MaskError, mask_bits
from preprocess.plan import PlannedImage


@dataclass(frozen=True)
class MadeSample:
    """What a shard stores of one sample: `image` uint8 (H, W, 3) RGB, `mask` uint8 (H, W), `truth` uint8
    (350, 525)."""

    name: str
    fold: int
    image: np.ndarray
    mask: np.ndarray
    truth: np.ndarray

    @property
    def crc32(self) -> int:
        """Checksum of the bytes of image, mask and truth, one after the other."""
        return zlib.crc32(self.truth.data, zlib.crc32(self.mask.data, zlib.crc32(self.image.data)))

    @property
    def areas(self) -> list[int]:
        """Pixels of each class in `mask`."""
        return [int(np.count_nonzero(self.mask & (1 << i))) for i in range(len(CLASSES))]

    @property
    def no_data(self) -> int:
        """Pixels without data in `mask`."""
        return int(np.count_nonzero(self.mask & NO_DATA))


def make_sample(planned: PlannedImage, size: tuple[int, int]) -> MadeSample | Rejection:
    """Read, check and shrink one image and its masks to `size` (height, width)."""
    labels = planned.labels
    try:
        image = read_image(planned.path)
        mask, truth = mask_bits(labels.runs, black_band(image), (size, TRUTH_SIZE))
    except ImageError as error:
        return Rejection(labels.line, labels.name, "image", str(error))
    except MaskError as error:
        return Rejection(labels.lines[error.label], labels.name, HEADER[1], str(error))
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return MadeSample(labels.name, planned.fold, small, mask, truth)
