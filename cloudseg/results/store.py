"""Probabilities on disk: all that comes after the networks works on these, and can be done again without a GPU."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cloudseg import atomic
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.errors import DataError
from cloudseg.results.sources import Source
from cloudseg.run import Run

PART = 16
"""Images in a file: what is lost when a job is stopped, and what ranks deal out."""


class Store:
    """FOLDER/00000.h5, 00001.h5, ...: dataset `probability`, uint8 (n, C, 350, 525), 255 for 1 and 0 where an image has
    no data; dataset `name`, and about.json with what was predicted by which weights.

    Each file is whole or not there, and the same whichever rank wrote it.
    """

    def __init__(self, folder: Path, names: Sequence[str], about: Mapping[str, Any]) -> None:
        self.folder, self.names, self.about = folder, tuple(names), dict(about)

    @classmethod
    def within(cls, parent: Path, names: Sequence[str], about: Mapping[str, Any]) -> Store:
        """The store of these images under `about`, in a folder of its own below `parent`, called by its digest: what
        was predicted otherwise is never taken for it."""
        digest = hashlib.sha256(json.dumps([dict(about), list(names)], sort_keys=True).encode()).hexdigest()
        return cls(parent / digest[:16], names, about)

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

    def write(self, part: int, probability: np.ndarray) -> None:
        """Write one file. `probability` uint8 (n, C, 350, 525). Raises CloudsegError if there is no room."""
        names = [self.names[i] for i in self.parts()[part]]
        shape = (len(names), len(CLASSES), *TRUTH_SIZE)
        if probability.shape != shape or probability.dtype != np.uint8:
            raise ValueError(f"part {part} is of uint8 {shape}, not {probability.dtype} {probability.shape}")
        content = io.BytesIO()  # HDF5 crashes the process when it meets a full disk; a file of Python raises an error
        with h5py.File(content, "w") as file:
            file.create_dataset("probability", data=probability, chunks=(1, *shape[1:]), compression=1, fletcher32=True)
            file.create_dataset("name", data=names, dtype=h5py.string_dtype())
        atomic.write(self._file(part), content.getvalue())

    def read(self, number: int) -> np.ndarray:
        """Probabilities of an image, uint8 (C, 350, 525). Raises DataError if its file is damaged or gone."""
        path = self._file(number // PART)
        try:
            with h5py.File(path, "r") as file:
                if file["name"].asstr()[number % PART] == self.names[number]:
                    return file["probability"][number % PART]
        except (OSError, KeyError, ValueError) as error:
            reason = str(error).partition(" (")[0]
        else:
            reason = "it holds other images"
        raise DataError(f"{path} is damaged: {reason}; delete it, and the same command makes it again")

    def _file(self, part: int) -> Path:
        return self.folder / f"{part:05d}.h5"


def store_of(run: Run, stage: str, source: Source, flips: bool, parent: Path) -> Store:
    """Where the probabilities of the best weights of a finished `stage` lie."""
    done = run.done(stage)
    if done is None:
        raise ValueError(f"stage {stage} is not done")
    about = {"weights_sha256": done["weights_sha256"], "flips": flips, **source.about()}
    return Store.within(parent, source.names, about)
