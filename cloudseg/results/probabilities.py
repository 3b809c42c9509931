"""Stores probabilities on disk. Everything after inference reads them, and can be repeated without a GPU."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cloudseg.core import atomic
from cloudseg.core.errors import DataError
from cloudseg.core.run import Run
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import TRUTH_SIZE, Manifest
from cloudseg.results.sources import Prepared, Source

PART = 16
"""Images per file. A file is the unit that ranks divide, and that is lost when a job is stopped."""


class Store:
    """The probabilities of images in FOLDER/00000.h5, 00001.h5 and so on, or 00000-DIGEST.h5 for images with digests.

    If an image changes, its file gets another name, and the other files are kept. about.json records the images and the
    weights. Datasets of a file: `probability`, uint8 (n, C, 350, 525), 255 for 1 and 0 without data; `name`; `valid`,
    uint8 (n, 350, 525), 1 with data; `size`, int32 (n, 2), height and width of the image; `skipped`, uint8 (n,), 1 if
    it could not be read; `presence`, float32 (n, C), the probabilities of the network's presence head, if it has one.
    Files of versions without digests have the first two only.

    Files are written atomically, and do not depend on the rank that writes them.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], about: Mapping[str, Any], digests: Sequence[str] | None = None
    ) -> None:
        """`digests` are those of the images' content, unless `about` determines it."""
        self.folder, self.names, self.about = folder, tuple(names), dict(about)
        self._digests = digests

    @classmethod
    def within(
        cls, parent: Path, names: Sequence[str], about: Mapping[str, Any], digests: Sequence[str] | None = None
    ) -> Store:
        """The store in a subfolder of `parent` whose name is the digest of `about` and `names`: probabilities of
        other weights or images are never used."""
        digest = _digest([dict(about), list(names)])
        return cls(parent / digest[:16], names, about, digests)

    def __len__(self) -> int:
        return len(self.names)

    def parts(self) -> list[range]:
        """The image numbers of each file."""
        return [range(first, min(first + PART, len(self))) for first in range(0, len(self), PART)]

    def missing(self) -> list[int]:
        """Numbers of the files that do not exist yet."""
        existing = {path.name for path in self.folder.glob("*.h5")}
        return [part for part in range(len(self.parts())) if self._file(part).name not in existing]

    def prepare(self) -> None:
        """Make the folder and about.json. Raises CloudsegError if they cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder} cannot be made: {error.strerror}") from error
        atomic.write_json(self.folder / "about.json", {**self.about, "images": len(self)})

    def write(
        self, part: int, probability: np.ndarray, images: Sequence[Prepared], presence: np.ndarray | None = None
    ) -> None:
        """Write the file `part`, with `probability`, uint8 (n, C, 350, 525), and `presence`, float32 (n, C), of
        `images`. Raises CloudsegError if it cannot be written."""
        names = [self.names[i] for i in self.parts()[part]]
        shape = (len(names), len(CLASSES), *TRUTH_SIZE)
        if probability.shape != shape or probability.dtype != np.uint8:
            raise ValueError(f"part {part} must be uint8 {shape}, not {probability.dtype} {probability.shape}")
        content = io.BytesIO()  # HDF5 crashes the process if the disk is full; a Python file raises an error
        with h5py.File(content, "w") as file:
            file.create_dataset("probability", data=probability, chunks=(1, *shape[1:]), compression=1, fletcher32=True)
            file.create_dataset("name", data=names, dtype=h5py.string_dtype())
            valid = np.stack([image.valid for image in images]).view(np.uint8)
            file.create_dataset("valid", data=valid, chunks=(1, *TRUTH_SIZE), compression=1, fletcher32=True)
            file.create_dataset("size", data=np.array([image.size for image in images], np.int32))
            file.create_dataset("skipped", data=np.array([image.skipped for image in images], np.uint8))
            if presence is not None:
                file.create_dataset("presence", data=presence.astype(np.float32))
        atomic.write(self._file(part), content.getvalue())

    def read(self, number: int) -> np.ndarray:
        """Probabilities of an image, uint8 (C, 350, 525), 255 for 1. Raises DataError if its file cannot be read."""
        with self._opened(number // PART) as file:
            return file["probability"][number % PART]

    def presence(self, number: int) -> np.ndarray | None:
        """Probability of each class in an image by the presence head, float32 (C,); None without a head. Raises
        DataError as `read` does."""
        with self._opened(number // PART) as file:
            return file["presence"][number % PART] if "presence" in file else None

    def valid(self, number: int) -> np.ndarray:
        """Pixels of an image with data, bool (350, 525). Raises DataError as `read` does."""
        with self._opened(number // PART) as file:
            return file["valid"][number % PART].view(bool)

    def size(self, number: int) -> tuple[int, int]:
        """Height and width of an image. Raises DataError as `read` does."""
        with self._opened(number // PART) as file:
            height, width = file["size"][number % PART]
            return int(height), int(width)

    def skipped(self, part: int) -> list[int]:
        """Numbers of the images of a file that could not be read when it was written."""
        with self._opened(part) as file:
            numbers = self.parts()[part]
            return [numbers[i] for i in np.flatnonzero(file["skipped"])] if "skipped" in file else []

    @contextmanager
    def _opened(self, part: int) -> Iterator[h5py.File]:
        path = self._file(part)
        try:
            with h5py.File(path, "r") as file:
                if file["name"].asstr()[:].tolist() != [self.names[i] for i in self.parts()[part]]:
                    raise ValueError("it holds other images")
                yield file
        except (OSError, KeyError, ValueError) as error:
            reason = str(error).partition(" (")[0]
            raise DataError(f"{path} is damaged: {reason}; delete it, and the same command makes it again") from error

    def _file(self, part: int) -> Path:
        if self._digests is None:
            return self.folder / f"{part:05d}.h5"
        content = _digest([self._digests[i] for i in self.parts()[part]])
        return self.folder / f"{part:05d}-{content[:32]}.h5"


def stack(rows: Iterable[np.ndarray | None]) -> np.ndarray | None:
    """The results of `Store.presence` of n images, float32 (n, C); None if an image has none."""
    found = []
    for row in rows:
        if row is None:
            return None
        found.append(row)
    return np.stack(found) if found else None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def store_of(run: Run, stage: str, source: Source, flips: bool, parent: Path) -> Store:
    """The store of the probabilities of the best weights of a finished `stage`."""
    done = run.done(stage)
    if done is None:
        raise ValueError(f"stage {stage} is not done")
    size = Manifest.load(run.settings.data).size
    about = {"weights_sha256": done["weights_sha256"], "flips": flips, **source.about(size)}
    return Store.within(parent, source.names, about, source.digests)
