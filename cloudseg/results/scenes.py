"""Scenes of rasters as images for inference: regions of 21 x 14 degrees, as the network was trained on."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cloudseg.core.errors import DataError
from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.geo import lattice
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.lattice import Frame
from cloudseg.geo.raster_windows import Raster
from cloudseg.results import pictures
from cloudseg.results.sources import UNREADABLE, Prepared
from preprocess.images import SOURCE_SIZE

VERSION = 1
"""Version of the cutting and reading. Raise it if the same file would give other pixels."""


class Scenes:
    """The scenes of some rasters of a folder, raster by raster."""

    def __init__(
        self, folder: Path, rasters: Mapping[str, Bounds], overlap: Fraction, skip_damaged: bool = False
    ) -> None:
        """`rasters` are names of files with their bounds; `overlap` as in `lattice.scenes`. With `skip_damaged`, scenes
        that cannot be read have no data, and a warning is printed."""
        self._skip = skip_damaged
        self.folder, self.overlap, self.bounds = folder, overlap, rasters
        self.frames = {name: lattice.frame_of(bounds) for name, bounds in rasters.items()}
        self.cut = {name: lattice.scenes(frame, overlap) for name, frame in self.frames.items()}
        self._scenes = [(name, scene) for name, cut in self.cut.items() for scene in cut]
        self.names = [scene_name(name, scene) for name, scene in self._scenes]
        self.digests: list[str] | None = None
        self._rasters = {name: Raster(folder / name, bounds) for name, bounds in rasters.items()}

    def about(self, size: tuple[int, int]) -> dict[str, Any]:
        return {"scenes": VERSION, "pictures": pictures.VERSION, "size": list(size)}

    def digest(self, number: int) -> str:
        """sha256 of a scene's file and bounds, or UNREADABLE. Its place is in its name."""
        name, _ = self._scenes[number]
        content = _sha256(self.folder / name)
        if content == UNREADABLE:
            return UNREADABLE
        return hashlib.sha256(f"{content} {self._rasters[name].bounds}".encode()).hexdigest()

    def read(self, number: int, size: tuple[int, int]) -> Prepared:
        """Read a scene at `size`. Raises DataError for a raster that is damaged, or has changed since `digest`."""
        name, scene = self._scenes[number]
        try:
            pixels, without_data = self._rasters[name].read(scene.edges, SOURCE_SIZE)
        except DataError as error:
            if not self._skip:
                raise DataError(f"{error}, or add --skip-damaged") from None
            print(f"warning: {error}; a scene of it has no masks", file=sys.stderr, flush=True)
            nothing = np.zeros((*size, 3), np.uint8), np.zeros(TRUTH_SIZE, bool)
            return Prepared(*nothing, SOURCE_SIZE, skipped=True)
        if self.digests and self.digests[number] != self.digest(number):
            raise DataError(f"{self.folder / name} changed during the prediction; run the command again")
        image, valid = pictures.prepare(pictures.Picture(pixels, without_data if without_data.any() else None), size)
        if not valid.any() and len(self.cut[name]) == 1:
            print(f"warning: {self.folder / name}: no pixel has data; its masks are empty", file=sys.stderr, flush=True)
        return Prepared(image, valid, SOURCE_SIZE)


def scene_name(name: str, scene: Frame) -> str:
    """The name of a scene of the raster `name`."""
    return f"{name} {scene.top} {scene.left}"


def _sha256(path: Path) -> str:
    try:
        return _digest_of(path, path.stat().st_size, path.stat().st_mtime_ns)
    except OSError:
        return UNREADABLE


@functools.lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
