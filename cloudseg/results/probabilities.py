"""Probabilities on disk: all that comes after the networks works on these, and can be done again without a GPU."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
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
"""Images in a file: what is lost when a job is stopped, and what ranks deal out."""


class Store:
    """FOLDER/00000.h5, 00001.h5, ..., or, of images whose files have digests, 00000-DIGEST.h5: a change of an image is
    another file of its part, and the others stay. about.json says what was predicted by which weights.

    Datasets of a file: `probability`, uint8 (n, C, 350, 525), 255 for 1 and 0 where an image has no data; `name`;
    `valid`, uint8 (n, 350, 525), 1 where it has data; `size`, int32 (n, 2), its own height and width; `skipped`, uint8
    (n,), 1 if it could not be read. Files that were written before pictures had digests have the first two only.

    Each file is whole or not there, and the same whichever rank wrote it.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], about: Mapping[str, Any], digests: Sequence[str] | None = None
    ) -> None:
        """`digests` are of the content of each image, where `about` does not decide it."""
        self.folder, self.names, self.about = folder, tuple(names), dict(about)
        self._digests = digests

    @classmethod
    def within(
        cls, parent: Path, names: Sequence[str], about: Mapping[str, Any], digests: Sequence[str] | None = None
    ) -> Store:
        """The store of these images under `about`, in a folder of its own below `parent`, called by its digest: what
        was predicted otherwise is never taken for it."""
        digest = _digest([dict(about), list(names)])
        return cls(parent / digest[:16], names, about, digests)

    def __len__(self) -> int:
        return len(self.names)

    def parts(self) -> list[range]:
        """The numbers of the images of each file."""
        return [range(first, min(first + PART, len(self))) for first in range(0, len(self), PART)]

    def missing(self) -> list[int]:
        """The files that are not there yet, by number."""
        there = {path.name for path in self.folder.glob("*.h5")}
        return [part for part in range(len(self.parts())) if self._file(part).name not in there]

    def prepare(self) -> None:
        """Make the folder. Raises CloudsegError if it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder} cannot be made: {error.strerror}") from error
        atomic.write_json(self.folder / "about.json", {**self.about, "images": len(self)})

    def write(self, part: int, probability: np.ndarray, images: Sequence[Prepared]) -> None:
        """Write one file, of `images`. `probability` uint8 (n, C, 350, 525). Raises CloudsegError if there is no
        room."""
        names = [self.names[i] for i in self.parts()[part]]
        shape = (len(names), len(CLASSES), *TRUTH_SIZE)
        if probability.shape != shape or probability.dtype != np.uint8:
            raise ValueError(f"part {part} is of uint8 {shape}, not {probability.dtype} {probability.shape}")
        content = io.BytesIO()  # HDF5 crashes the process when it meets a full disk; a file of Python raises an error
        with h5py.File(content, "w") as file:
            file.create_dataset("probability", data=probability, chunks=(1, *shape[1:]), compression=1, fletcher32=True)
            file.create_dataset("name", data=names, dtype=h5py.string_dtype())
            valid = np.stack([image.valid for image in images]).view(np.uint8)
            file.create_dataset("valid", data=valid, chunks=(1, *TRUTH_SIZE), compression=1, fletcher32=True)
            file.create_dataset("size", data=np.array([image.size for image in images], np.int32))
            file.create_dataset("skipped", data=np.array([image.skipped for image in images], np.uint8))
        atomic.write(self._file(part), content.getvalue())

    def read(self, number: int) -> np.ndarray:
        """Probabilities of an image, uint8 (C, 350, 525). Raises DataError if its file is damaged or gone."""
        with self._opened(number // PART) as file:
            return file["probability"][number % PART]

    def valid(self, number: int) -> np.ndarray:
        """Where an image has data, bool (350, 525). Raises DataError as `read` does."""
        with self._opened(number // PART) as file:
            return file["valid"][number % PART].view(bool)

    def size(self, number: int) -> tuple[int, int]:
        """Height and width of an image. Raises DataError as `read` does."""
        with self._opened(number // PART) as file:
            height, width = file["size"][number % PART]
            return int(height), int(width)

    def skipped(self, part: int) -> list[int]:
        """The numbers of the images of a file that could not be read when it was written."""
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


def _digest(of: Any) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def store_of(run: Run, stage: str, source: Source, flips: bool, parent: Path) -> Store:
    """Where the probabilities of the best weights of a finished `stage` lie."""
    done = run.done(stage)
    if done is None:
        raise ValueError(f"stage {stage} is not done")
    size = Manifest.load(run.settings.data).size
    about = {"weights_sha256": done["weights_sha256"], "flips": flips, **source.about(size)}
    return Store.within(parent, source.names, about, source.digests)
