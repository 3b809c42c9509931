"""Images to be predicted: a data set's samples, or a folder of pictures of any size."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cloudseg.data.labels import NO_DATA
from cloudseg.data.shards import TRUTH_SIZE, Shards
from cloudseg.errors import DataError, UsageError
from cloudseg.results import pictures


class Source(Protocol):
    names: list[str]

    def about(self) -> dict[str, Any]:
        """What tells it from others."""

    def read(self, number: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """An image, RGB uint8 (*size, 3), and which pixels have data, bool (350, 525). Raises DataError for a damaged
        one."""


class Samples:
    """Some samples of a data set, with their truth."""

    def __init__(self, shards: Shards, numbers: np.ndarray) -> None:
        self.shards, self.numbers = shards, numbers
        self.names = [shards.name(number) for number in numbers]

    def about(self) -> dict[str, Any]:
        return {"data_sha256": self.shards.manifest.digest}

    def read(self, number: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        sample, image = self.numbers[number], self.image(number)
        if image.shape[:2] != size:
            raise ValueError(f"the samples are of {image.shape[:2]}, not {size}")
        self.shards.check(sample, image, self.shards.mask(sample))
        return image, self.shards.truth(sample) & NO_DATA == 0

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
        there = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in pictures.SUFFIXES)
        if not there:
            raise UsageError(f"{folder} holds no picture ({', '.join(pictures.SUFFIXES)})")
        if names is not None and (lacking := sorted(set(names) - set(there))):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise UsageError(f"{folder} lacks {lacking[0]}{more}, for which the sample file asks")
        self.folder, self.names, self._skip = folder, list(names or there), skip_damaged

    def about(self) -> dict[str, Any]:
        sizes = [(self.folder / name).stat().st_size for name in self.names]
        return {"pictures_sha256": hashlib.sha256(json.dumps(sizes).encode()).hexdigest()}

    def read(self, number: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        try:
            return pictures.prepare(pictures.read(self.folder / self.names[number]), size)
        except DataError as error:
            if not self._skip:
                raise DataError(f"{error}; mend it and type the same again, or add --skip-damaged") from error
            print(f"warning: {error}; its masks are empty", file=sys.stderr, flush=True)
            return np.zeros((*size, 3), np.uint8), np.zeros(TRUTH_SIZE, bool)

    def size(self, number: int) -> tuple[int, int]:
        """Height and width of a picture; of one that cannot be read and is skipped, those that are scored."""
        try:
            height, width, _ = pictures.read(self.folder / self.names[number]).shape
        except DataError:
            if not self._skip:
                raise
            return TRUTH_SIZE
        return height, width
