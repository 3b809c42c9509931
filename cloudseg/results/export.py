"""Exports masks as coloured PNGs, as GeoJSON, and with probabilities as GeoTIFF and NetCDF.

Pictures with bounds have coordinates in degrees (`cloudseg.geo`); GeoJSON of others is in pixels.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from cloudseg.data.bitmask import pack
from cloudseg.data.colours import COLOURS
from cloudseg.data.labels import CLASSES
from cloudseg.geo import netcdf, polygons, rasters
from cloudseg.geo.georeference import Georeference
from cloudseg.geo.layers import Layers

GEOGRAPHIC = ("geojson", "geotiff", "netcdf")
"""Formats that have coordinates."""
FORMATS = ("png", *GEOGRAPHIC)
"""Formats of a file, or several, per picture."""


@dataclass(frozen=True)
class Prediction:
    """What was predicted of a picture of `size` (height, width): `masks`, bool (C, h, w); `probability`, uint8
    (C, h, w), 255 for 1; `valid`, bool (h, w), pixels with data."""

    name: str
    masks: np.ndarray
    probability: np.ndarray
    valid: np.ndarray
    size: tuple[int, int]
    reference: Georeference

    def layers(self) -> Layers:
        """The same at the size of the picture: masks by nearest neighbour, probabilities by linear interpolation."""
        return Layers(
            self.name,
            np.stack([stretched(mask, self.size) for mask in self.masks]),
            np.stack([cv2.resize(each, self.size[::-1], interpolation=cv2.INTER_LINEAR) for each in self.probability]),
            stretched(self.valid, self.size),
            self.reference,
        )


def files(form: str, prediction: Prediction) -> dict[str, bytes]:
    """Encode a prediction in one of FORMATS: suffix of the file -> content."""
    if form == "png":
        return {".png": png(prediction.masks, prediction.size)}
    return encoded(form, prediction.layers())


def encoded(form: str, layers: Layers) -> dict[str, bytes]:
    """Encode layers in one of GEOGRAPHIC: suffix of the file -> content."""
    if form == "geotiff":
        return rasters.geotiffs(layers)
    if form == "netcdf":
        return {".nc": netcdf.netcdf(layers)}
    if layers.reference.bounds is not None:
        return {".geojson": polygons.geojson(layers)}
    return {".geojson": geojson(layers.name, layers.masks, layers.probability, layers.size)}


def stretched(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a bool mask to `size` (height, width) by nearest neighbour."""
    # In integers: OpenCV's rounding sometimes takes a neighbour, which may be a no-data pixel.
    rows, columns = ((2 * np.arange(to) + 1) * of // (2 * to) for of, to in zip(mask.shape, size, strict=True))
    return mask[rows[:, None], columns]


def png(masks: np.ndarray, size: tuple[int, int]) -> bytes:
    """Encode masks, bool (C, h, w), as an indexed PNG of `size` (height, width).

    Its values are packed masks, as in the shards; its palette has the classes' colours, mixed for several classes.
    """
    image = Image.fromarray(pack(np.stack([stretched(mask, size) for mask in masks])), mode="P")
    image.putpalette([value for colour in palette() for value in colour])
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def palette() -> list[tuple[int, int, int]]:
    """A colour for each of the 16 sets of classes: black for none, the mean of the colours for several."""
    colours = []
    for bits in range(1 << len(CLASSES)):
        mixed = [COLOURS[name] for c, name in enumerate(CLASSES) if bits >> c & 1]
        mean = np.mean(mixed, axis=0).round().astype(int) if mixed else np.zeros(3, int)
        colours.append((int(mean[0]), int(mean[1]), int(mean[2])))
    return colours


def geojson(name: str, masks: np.ndarray, probability: np.ndarray, size: tuple[int, int]) -> bytes:
    """Encode masks as a FeatureCollection with one Polygon, with holes, per component of each class.

    masks bool (C, h, w); probability uint8 (C, h, w), 255 for 1. Coordinates are [x, y] in pixels of an image of `size`
    (height, width), with (0, 0) at the top left pixel. Rings go through the centres of a component's outermost pixels.
    """
    features: list[dict[str, Any]] = []
    for c, label in enumerate(CLASSES):
        full = stretched(masks[c], size)
        full_probability = cv2.resize(probability[c], size[::-1], interpolation=cv2.INTER_LINEAR)
        outlines, tree = cv2.findContours(full.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for i, outline in enumerate(outlines):
            if tree[0, i, 3] >= 0:
                continue  # a hole, which is added to its component
            rings = [outline, *(outlines[j] for j in range(len(outlines)) if tree[0, j, 3] == i)]
            filled = np.zeros(size, np.uint8)
            cv2.fillPoly(filled, [outline], 1)
            inside = full & filled.view(bool)
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [_ring(ring) for ring in rings]},
                    "properties": {
                        "class": label,
                        "pixels": int(np.count_nonzero(inside)),
                        "mean_probability": round(float(full_probability[inside].mean()) / 255, 4),
                    },
                }
            )
    return json.dumps({"type": "FeatureCollection", "image": name, "features": features}).encode()


def _ring(outline: np.ndarray) -> list[list[int]]:
    """A closed ring of at least four positions, as GeoJSON requires."""
    points = outline.reshape(-1, 2).tolist()
    points += [points[0]] * max(1, 4 - len(points))
    return points
