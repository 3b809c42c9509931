"""Sources of images for inference: samples of a data set, or a folder of pictures of any size."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cloudseg.core.errors import DataError, UsageError
from cloudseg.data import picture_files
from cloudseg.data.bitmask import has_data
from cloudseg.data.shards import TRUTH_SIZE, Shards
from cloudseg.results import pictures
from preprocess.images import ImageError, may_be_halved

UNREADABLE = ""
"""Digest of a file that cannot be opened."""


@dataclass(frozen=True)
class Prepared:
    """An image prepared for a network: `image`, RGB uint8 (H, W, 3) at the network's size; `valid`, bool (350, 525),
    its pixels with data; `size`, its original height and width; `skipped`, whether it could not be read."""

    image: np.ndarray
    valid: np.ndarray
    size: tuple[int, int]
    skipped: bool = False


class Source(Protocol):
    """A list of named images."""

    names: list[str]
    digests: list[str] | None
    """sha256 of each image's file; None if `about` determines the images."""

    def about(self, size: tuple[int, int]) -> dict[str, Any]:
        """Facts that, with names and digests, determine the images at `size`."""

    def read(self, number: int, size: tuple[int, int]) -> Prepared:
        """Read an image at `size` (height, width). Raises DataError for a damaged one."""


class Samples:
    """Some samples of a data set, with their ground truth."""

    digests: list[str] | None = None

    def __init__(self, shards: Shards, numbers: np.ndarray) -> None:
        self.shards, self.numbers = shards, numbers
        self.names = [shards.name(number) for number in numbers]

    def about(self, size: tuple[int, int]) -> dict[str, Any]:
        return {"data_sha256": self.shards.manifest.digest}

    def read(self, number: int, size: tuple[int, int]) -> Prepared:
        sample, image = self.numbers[number], self.image(number)
        if image.shape[:2] != size:
            raise ValueError(f"the samples have the size {image.shape[:2]}, not {size}")
        self.shards.check(sample, image, self.shards.mask(sample))
        return Prepared(image, has_data(self.shards.truth(sample)), size)

    def image(self, number: int) -> np.ndarray:
        """RGB uint8 (H, W, 3), at the size of the shards."""
        return self.shards.image(self.numbers[number])

    def truth(self, number: int) -> np.ndarray:
        """Packed ground truth, uint8 (350, 525)."""
        return self.shards.truth(self.numbers[number])


class Pictures:
    """The pictures of a folder, sorted by name, or some of them by name."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str] | None = None,
        skip_damaged: bool = False,
        option: str = "--images",
        effect: str = "its masks are empty",
    ) -> None:
        """With `skip_damaged`, a picture that cannot be read has no data, and a warning is printed, which ends with the
        `effect` of a picture without data. `option` is the folder's on the command line.

        Raises UsageError if the folder does not exist, has no picture, or lacks one of `names`.
        """
        existing = picture_files.names(folder, option)
        if names is not None and (lacking := sorted(set(names) - set(existing))):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise UsageError(f"{folder} lacks {lacking[0]}{more}, which the sample file lists")
        self.folder, self._skip = folder, skip_damaged
        self.names = list(existing if names is None else names)
        self._effect = effect
        self.digests: list[str] | None = None

    def about(self, size: tuple[int, int]) -> dict[str, Any]:
        return {"pictures": pictures.VERSION, "size": list(size)}

    def digest(self, number: int) -> str:
        """sha256 of a picture's file, or UNREADABLE."""
        try:
            with (self.folder / self.names[number]).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return UNREADABLE

    def read(self, number: int, size: tuple[int, int]) -> Prepared:
        """Read a picture at `size`. Raises DataError also if `digests` is set and the picture has changed since."""
        path, digest = self.folder / self.names[number], UNREADABLE
        try:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            picture = pictures.decode(content, half=may_be_halved(size))
        except (ImageError, OSError) as error:
            self._check_same(number, digest)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if not self._skip:
                raise DataError(
                    f"{path}: {reason}; repair it and run the command again, or add --skip-damaged"
                ) from error
            print(f"warning: {path}: {reason}; {self._effect}", file=sys.stderr, flush=True)
            return Prepared(np.zeros((*size, 3), np.uint8), np.zeros(TRUTH_SIZE, bool), TRUTH_SIZE, skipped=True)
        self._check_same(number, digest)
        image, valid = pictures.prepare(picture, size)
        if not valid.any():
            print(f"warning: {path}: no pixel has data; {self._effect}", file=sys.stderr, flush=True)
        return Prepared(image, valid, picture.size)

    def _check_same(self, number: int, digest: str) -> None:
        if self.digests and self.digests[number] != digest:
            raise DataError(f"{self.folder / self.names[number]} changed during the prediction; run the command again")
