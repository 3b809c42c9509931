"""Masks and probabilities as cloud optimized GeoTIFFs."""

from __future__ import annotations

import warnings

import numpy as np

from cloudseg.data.labels import CLASSES
from cloudseg.geo import libraries
from cloudseg.geo.georeference import ACQUIRED, SATELLITE, time_text
from cloudseg.geo.layers import NO_DATA, STEPS, Layers


def geotiffs(layers: Layers) -> dict[str, bytes]:
    """Encode a picture's masks and probabilities: suffix of the file -> content.

    Both are cloud optimized, uint8, one band per class, named after it, in EPSG:4326 with the no-data value 255. They
    have no coordinate system if the bounds are unknown. Masks are 0 or 1. A probability is the value times the band's
    scale.
    """
    return {
        ".masks.tif": _encode(layers.marked_masks(), layers, 1.0, overview_resampling="nearest"),
        ".probability.tif": _encode(
            layers.packed_probability(), layers, 1 / STEPS, overview_resampling="average", predictor="YES"
        ),
    }


def _encode(bands: np.ndarray, layers: Layers, scale: float, **options: str) -> bytes:
    libraries.prepare()
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile
    from rasterio.transform import from_bounds

    count, height, width = bands.shape
    bounds, reference = layers.reference.bounds, layers.reference
    place = {}
    if bounds is not None:
        transform = from_bounds(bounds.west, bounds.south, bounds.east, bounds.north, width, height)
        place = {"crs": "EPSG:4326", "transform": transform}
    tags = {"IMAGE": layers.name, ACQUIRED: time_text(reference.time), SATELLITE: reference.platform}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            driver="COG",
            width=width,
            height=height,
            count=count,
            dtype="uint8",
            nodata=NO_DATA,
            compress="DEFLATE",
            **place,
            **options,
        ) as file:
            file.write(bands)
            file.descriptions = CLASSES
            if scale != 1:
                file.scales = (scale,) * count
            file.update_tags(**{name: value for name, value in tags.items() if value})
        return bytes(memory.getbuffer())
