"""Masks as files that other tools open: coloured PNGs, and GeoJSON polygons in pixel coordinates."""

from __future__ import annotations

import io
import json
from typing import Any

import cv2
import numpy as np
from PIL import Image

from cloudseg.data.bitmask import pack
from cloudseg.data.colours import COLOURS
from cloudseg.data.labels import CLASSES


def stretched(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A bool mask at another size (height, width): each pixel is what lies at its centre."""
    # In whole numbers: OpenCV's rounding takes a neighbour here and there, which may have no data.
    rows, columns = ((2 * np.arange(to) + 1) * of // (2 * to) for of, to in zip(mask.shape, size, strict=True))
    return mask[rows[:, None], columns]


def png(masks: np.ndarray, size: tuple[int, int]) -> bytes:
    """bool (C, h, w) -> an indexed PNG of `size` whose values are the bits of the classes, as in the shards, and whose
    palette shows their colours, mixed where there are several."""
    image = Image.fromarray(pack(np.stack([stretched(mask, size) for mask in masks])), mode="P")
    image.putpalette([value for colour in palette() for value in colour])
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def palette() -> list[tuple[int, int, int]]:
    """A colour for each of the sixteen sets of classes: black for none, the mean of theirs for several."""
    colours = []
    for bits in range(1 << len(CLASSES)):
        mixed = [COLOURS[name] for c, name in enumerate(CLASSES) if bits >> c & 1]
        mean = np.mean(mixed, axis=0).round().astype(int) if mixed else np.zeros(3, int)
        colours.append((int(mean[0]), int(mean[1]), int(mean[2])))
    return colours


def geojson(name: str, masks: np.ndarray, probability: np.ndarray, size: tuple[int, int]) -> bytes:
    """A FeatureCollection with a Polygon, holes included, for each piece of each class.

    masks bool (C, h, w); probability uint8 (C, h, w), 255 for 1. Coordinates are [x, y] from the top left pixel (0, 0)
    of an image of `size` (height, width), through the centres of a piece's outermost pixels.
    """
    features: list[dict[str, Any]] = []
    for c, label in enumerate(CLASSES):
        full = stretched(masks[c], size)
        said = cv2.resize(probability[c], size[::-1], interpolation=cv2.INTER_LINEAR)
        outlines, tree = cv2.findContours(full.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for i, outline in enumerate(outlines):
            if tree[0, i, 3] >= 0:
                continue  # a hole, which goes with its piece
            rings = [outline, *(outlines[j] for j in range(len(outlines)) if tree[0, j, 3] == i)]
            piece = np.zeros(size, np.uint8)
            cv2.fillPoly(piece, [outline], 1)
            inside = full & piece.view(bool)
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [_ring(ring) for ring in rings]},
                    "properties": {
                        "class": label,
                        "pixels": int(np.count_nonzero(inside)),
                        "mean_probability": round(float(said[inside].mean()) / 255, 4),
                    },
                }
            )
    return json.dumps({"type": "FeatureCollection", "image": name, "features": features}).encode()


def _ring(outline: np.ndarray) -> list[list[int]]:
    """A closed ring of at least four positions, as GeoJSON wants it."""
    points = outline.reshape(-1, 2).tolist()
    points += [points[0]] * max(1, 4 - len(points))
    return points
