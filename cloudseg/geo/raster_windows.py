"""Reads regions of rasters of any size, at a resolution of one's own, without reading the rest."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cloudseg.core.errors import DataError
from cloudseg.geo import libraries
from cloudseg.geo.bounds import Bounds

SAME_SCALE = 1.001
"""Ratio of pixel sizes up to which pixels are interpolated; larger ones are averaged."""


class Raster:
    """A raster, north up, whose outer edges are `bounds`. Threads may share it.

    It stays open from the first `read`, as the rows of a JPEG or PNG can only be read in their order.
    """

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self.path, self.bounds = path, bounds
        self._lock = threading.Lock()
        self._dataset: Any = None

    def read(self, edges: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The region with the `edges` west, south, east, north, in degrees, at `size` (height, width): RGB uint8
        (*size, 3), and its pixels without data, bool `size`. Both are so outside the raster: black, without data.

        Raises DataError for a raster that is damaged, or of a kind that is not supported.
        """
        pixels, without_data = np.zeros((*size, 3), np.uint8), np.ones(size, bool)
        west, south, east, north = edges
        bounds = self.bounds
        down, across = (north - south) / size[0], (east - west) / size[1]
        rows = _inside((north - bounds.north) / down, (north - bounds.south) / down, size[0])
        columns = _inside((bounds.west - west) / across, (bounds.east - west) / across, size[1])
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return pixels, without_data
        with self._lock:
            try:
                dataset = self._opened()
                height, width = dataset.height / bounds.height, dataset.width / bounds.width  # pixels per degree
                offsets = north - rows.start * down, west + columns.start * across
                from rasterio.windows import Window

                window = Window(
                    (offsets[1] - bounds.west) * width,
                    (bounds.north - offsets[0]) * height,
                    (columns.stop - columns.start) * across * width,
                    (rows.stop - rows.start) * down * height,
                )
                shape = rows.stop - rows.start, columns.stop - columns.start
                found = _read(dataset, window, shape, max(down * height, across * width))
            except DataError:
                raise
            except Exception as error:  # rasterio and GDAL raise errors of many classes
                raise DataError(f"{self.path} is damaged: {error}; write it anew") from error
        pixels[rows, columns], without_data[rows, columns] = found
        return pixels, without_data

    def _opened(self) -> Any:
        if self._dataset is None:
            libraries.prepare()
            import rasterio
            from rasterio.errors import NotGeoreferencedWarning

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = rasterio.open(self.path)
            _check_kind(self.path, dataset)
            self._dataset = dataset
        return self._dataset


def _inside(first: float, end: float, length: int) -> slice:
    """The whole pixels, of `length` ones, between two edges, to a thousandth of a pixel."""
    return slice(max(0, math.ceil(first - 1e-3)), min(length, math.floor(end + 1e-3)))


def _check_kind(path: Path, dataset: Any) -> None:
    """Raises DataError unless the dataset has 8 bits per sample, and is grey or RGB, with or without alpha."""
    kinds = sorted(set(dataset.dtypes))
    if kinds != ["uint8"]:
        raise DataError(f"{path} has samples of the kind {', '.join(kinds)}; scale them to 8 bits, as reflectances are")
    if dataset.tags().get("EXIF_Orientation", "1") != "1":
        raise DataError(f"{path} is turned by its EXIF orientation; save it upright, without the orientation")
    if dataset.count > 4 or dataset.colorinterp[0].name == "palette":
        kind = "a palette" if dataset.count <= 4 else f"{dataset.count} bands"
        raise DataError(f"{path} has {kind}; save it as RGB: rio or gdal_translate -expand rgb")


def _read(dataset: Any, window: Any, shape: tuple[int, int], ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 (*shape, 3) of a window, and its pixels without data, bool `shape`. `ratio` is the number of pixels of
    the raster per pixel that is read."""
    from rasterio.enums import Resampling

    resampling = Resampling.average if ratio > SAME_SCALE else Resampling.bilinear
    grey = dataset.count < 3
    bands = dataset.read([1, 1, 1] if grey else [1, 2, 3], window=window, out_shape=(3, *shape), resampling=resampling)
    without_data = _masked(dataset, lambda: dataset.dataset_mask(window=window, out_shape=shape), shape)
    pixels = np.ascontiguousarray(bands.transpose(1, 2, 0))
    pixels[without_data] = 0
    return pixels, without_data


def _masked(dataset: Any, read_mask: Callable[[], np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    from rasterio.enums import MaskFlags

    if all(flags == [MaskFlags.all_valid] for flags in dataset.mask_flag_enums):
        return np.zeros(shape, bool)
    return read_mask() == 0
