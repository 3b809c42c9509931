"""GeoJSON (RFC 7946) of masks: one feature per component of each class, in degrees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cloudseg.data.labels import CLASSES
from cloudseg.geo import libraries
from cloudseg.geo.bounds import Bounds, wrapped
from cloudseg.geo.georeference import time_text
from cloudseg.geo.layers import Layers

if TYPE_CHECKING:
    import geopandas

DECIMALS = 6
"""Of the coordinates: 10 cm (RFC 7946, 11.2)."""
EQUAL_AREA = "EPSG:6933"
"""EASE-Grid 2.0 (Brodzik et al. 2012), a cylindrical equal-area projection of the WGS 84 ellipsoid. Edges along
parallels and meridians stay straight in it, so the areas of polygons of pixels are exact."""


def geojson(layers: Layers) -> bytes:
    """Encode the masks of a picture whose bounds are known as a FeatureCollection.

    A feature is a Polygon along the edges of the pixels of a component (pixels that touch at a corner are connected),
    or a MultiPolygon if its parts only touch at corners or the antimeridian cuts it. Outer rings are counterclockwise.
    Its properties are `class`, `area_km2`, `pixels`, `mean_probability` (0 to 1), `time` (null if it is unknown) and
    `platform`. The members `image` and `image_bounds` ([west, south, east, north], degrees) tell of the picture.
    """
    bounds = layers.reference.bounds
    if bounds is None:
        raise ValueError(f"{layers.name} has no bounds")
    frame = components(layers, bounds)
    frame["area_km2"] = (frame.to_crs(EQUAL_AREA).area / 1e6).round(3)
    frame["time"] = time_text(layers.reference.time)
    frame["platform"] = layers.reference.platform or None
    frame = frame.set_geometry(frame.geometry.transform(lambda positions: positions.round(DECIMALS)))
    table = json.loads(frame.to_json(drop_id=True))
    edges = [
        bounds.west,
        bounds.south,
        wrapped(bounds.east) if bounds.crosses_antimeridian else bounds.east,
        bounds.north,
    ]
    table |= {"image": layers.name, "image_bounds": edges}
    return json.dumps(table).encode()


def components(layers: Layers, bounds: Bounds) -> geopandas.GeoDataFrame:
    """The components of all classes: `class`, `pixels`, `mean_probability` and geometry in EPSG:4326, as RFC 7946
    requires it."""
    libraries.prepare()
    import geopandas
    import pandas as pd
    import shapely
    from rasterio import features
    from rasterio.transform import from_bounds

    height, width = layers.size
    transform = from_bounds(bounds.west, bounds.south, bounds.east, bounds.north, width, height)
    frames = []
    for label, mask, probability in zip(CLASSES, layers.masks, layers.probability, strict=True):
        count, numbers = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        pixels = np.bincount(numbers.ravel(), minlength=count)
        mass = np.bincount(numbers.ravel(), weights=probability.ravel(), minlength=count)
        # Rings of pixels that are connected at edges do not touch themselves; `dissolve` joins those of a component.
        found = list(features.shapes(numbers, mask=mask, connectivity=4, transform=transform))
        frame = geopandas.GeoDataFrame(
            {"component": [int(number) for _, number in found]},
            geometry=[shapely.geometry.shape(outline) for outline, _ in found],
            crs="EPSG:4326",
        )
        frame = frame.dissolve("component")
        frame["class"] = label
        frame["pixels"] = pixels[frame.index]
        frame["mean_probability"] = np.round(mass[frame.index] / pixels[frame.index] / 255, 4)
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True)
    return frame.set_geometry(cut_at_antimeridian(frame.geometry).orient_polygons(exterior_cw=False))


def cut_at_antimeridian(geometry: geopandas.GeoSeries) -> geopandas.GeoSeries:
    """Polygons with longitudes from -180 to 540 with those from -180 to 180, in two parts where they cross 180 (RFC
    7946, 3.1.9)."""
    if geometry.empty or geometry.total_bounds[2] <= 180:
        return geometry
    east = geometry.clip_by_rect(180, -90, 540, 90).translate(xoff=-360)
    return geometry.clip_by_rect(-180, -90, 180, 90).union(east, align=False)
