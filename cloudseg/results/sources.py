"""Images to be predicted: a data set's samples, or a folder of pictures of any size."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cloudseg.core.errors import DataError, UsageError
from cloudseg.data.bitmask import has_data
from cloudseg.data.shards import TRUTH_SIZE, Shards
from cloudseg.results import pictures
from preprocess.images import ImageError

UNREADABLE = ""
"""In place of the digest of a file that cannot be opened."""


@dataclass(frozen=True)
class Prepared:
    """An image as networks take it: `image` RGB uint8 (H, W, 3) at their size, `valid` bool (350, 525) where it has
    data; `size` is its own height and width, `skipped` whether it could not be read."""

    image: np.ndarray
    valid: np.ndarray
    size: tuple[int, int]
    skipped: bool = False


class Source(Protocol):
    names: list[str]
    digests: list[str] | None
    """sha256 of each image's file; None if `about` decides what all of them are."""

    def about(self, size: tuple[int, int]) -> dict[str, Any]:
        """What decides, besides names and digests, how images look at `size`."""

    def read(self, number: int, size: tuple[int, int]) -> Prepared:
        """An image at `size` (height, width). Raises DataError for a damaged one."""


class Samples:
    """Some samples of a data set, with their truth."""

    digests: list[str] | None = None

    def __init__(self, shards: Shards, numbers: np.ndarray) -> None:
        self.shards, self.numbers = shards, numbers
        self.names = [shards.name(number) for number in numbers]

    def about(self, size: tuple[int, int]) -> dict[str, Any]:
        return {"data_sha256": self.shards.manifest.digest}

    def read(self, number: int, size: tuple[int, int]) -> Prepared:
        sample, image = self.numbers[number], self.image(number)
        if image.shape[:2] != size:
            raise ValueError(f"the samples are of {image.shape[:2]}, not {size}")
        self.shards.check(sample, image, self.shards.mask(sample))
        return Prepared(image, has_data(self.shards.truth(sample)), size)

    def image(self, number: int) -> np.ndarray:
        """RGB uint8 (H, W, 3), at the size of the shards."""
        return self.shards.image(self.numbers[number])

    def truth(self, number: int) -> np.ndarray:
        """Bits as in the shards, uint8 (350, 525)."""
        return self.shards.truth(self.numbers[number])


class Pictures:
    """The pictures of a folder, sorted by name, or some of them by name."""

    def __init__(self, folder: Path, names: Sequence[str] | None = None, skip_damaged: bool = False) -> None:
        """With `skip_damaged`, pictures that cannot be read are as if without data, and warned of. Raises UsageError if
        there is no such folder, no picture in it, or not one that is asked for."""
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder; give one with pictures: --images DIR")
        there = sorted(path.name for path in folder.iterdir() if pictures.is_picture(path))
        if not there:
            raise UsageError(f"{folder} holds no picture ({', '.join(pictures.SUFFIXES)})")
        if names is not None and (lacking := sorted(set(names) - set(there))):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise UsageError(f"{folder} lacks {lacking[0]}{more}, for which the sample file asks")
        self.folder, self.names, self._skip = folder, list(names or there), skip_damaged
        self.digests: list[str] | None = None

    def about(self, size: tuple[int, int]) -> dict[str, Any]:
        return {"pictures": pictures.VERSION, "size": list(size)}

    def digest(self, number: int) -> str:
        """sha256 of a picture's file as it is now, or UNREADABLE."""
        try:
            with (self.folder / self.names[number]).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return UNREADABLE

    def read(self, number: int, size: tuple[int, int]) -> Prepared:
        """Raises DataError also if the picture is not the one of `digests`, where they are known."""
        path, digest = self.folder / self.names[number], UNREADABLE
        try:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            picture = pictures.decode(content)
        except (ImageError, OSError) as error:
            self._check_same(number, digest)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if not self._skip:
                raise DataError(f"{path}: {reason}; mend it and type the same again, or add --skip-damaged") from error
            print(f"warning: {path}: {reason}; its masks are empty", file=sys.stderr, flush=True)
            return Prepared(np.zeros((*size, 3), np.uint8), np.zeros(TRUTH_SIZE, bool), TRUTH_SIZE, skipped=True)
        self._check_same(number, digest)
        image, valid = pictures.prepare(picture, size)
        if not valid.any():
            print(f"warning: {path}: no pixel has data; its masks are empty", file=sys.stderr, flush=True)
        return Prepared(image, valid, picture.size)

    def _check_same(self, number: int, digest: str) -> None:
        if self.digests and self.digests[number] != digest:
            raise DataError(f"{self.folder / self.names[number]} changed while it was predicted; type the same again")
