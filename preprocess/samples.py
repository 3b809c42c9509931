"""Makes a sample from an image and its labels, or a Rejection with the reason."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from isal.isal_zlib import crc32

from cloudseg.data.labels import CLASSES, HEADER, NO_DATA, SOURCE_SIZE, LabelTable, Rejection, RowError
from cloudseg.data.shards import TABLE, TRUTH_SIZE
from preprocess import native
from preprocess.area import resized
from preprocess.images import HALF_SIZE, ImageError, black_band, decode_image, may_be_halved, read_file
from preprocess.plan import PlannedImage


@dataclass(frozen=True)
class MadeSample:
    """The arrays of one sample: `image`, RGB uint8 (H, W, 3); `mask`, packed uint8 (H, W); `truth`, packed uint8
    (350, 525). `weight` and `label_source` are those of `shards.Sample`."""

    name: str
    fold: int
    image: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    weight: float = 1.0
    label_source: str = TABLE

    @property
    def crc32(self) -> int:
        """Checksum of the bytes of the image and the mask."""
        return crc32(self.mask.data, crc32(self.image.data))

    @property
    def areas(self) -> tuple[int, ...]:
        """Number of pixels of each class in `mask`."""
        return tuple(int(np.count_nonzero(self.mask & (1 << i))) for i in range(len(CLASSES)))

    @property
    def no_data(self) -> int:
        """Number of no-data pixels in `mask`."""
        return int(np.count_nonzero(self.mask & NO_DATA))


@dataclass(frozen=True)
class Outcome:
    """The sample or the rejection of an image, and the SHA-256 of its file, None if the file cannot be read."""

    made: MadeSample | Rejection
    sha256: str | None


def make_sample(planned: PlannedImage, table: LabelTable, size: tuple[int, int], any_size: bool) -> Outcome:
    """Read and check an image, and resize it and its masks to `size` (height, width)."""
    labels = planned.labels
    try:
        data = read_file(planned.path)
    except ImageError as error:
        return Outcome(Rejection(labels.line, labels.name, "image", str(error)), None)
    return Outcome(_made(data, planned, table, size, any_size), hashlib.sha256(data).hexdigest())


def _made(
    data: bytes, planned: PlannedImage, table: LabelTable, size: tuple[int, int], any_size: bool
) -> MadeSample | Rejection:
    labels = planned.labels
    try:
        image = decode_image(data, half=may_be_halved(size), any_size=any_size)
        runs = [table.runs(labels, i) for i in range(len(CLASSES))]
    except ImageError as error:
        return Rejection(labels.line, labels.name, "image", str(error))
    except RowError as error:
        return Rejection(error.line, labels.name, HEADER[1], error.reason)
    band = black_band(resized(image, HALF_SIZE))
    mask, truth = (native.mask_bits(runs, band, SOURCE_SIZE, stored, NO_DATA) for stored in (size, TRUTH_SIZE))
    return MadeSample(labels.name, planned.fold, resized(image, size), mask, truth)
