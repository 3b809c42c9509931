"""Draws the masks of the classes over an image."""

from __future__ import annotations

import cv2
import numpy as np

from cloudseg.data.colours import COLOURS
from cloudseg.data.labels import CLASSES


def overlay(image: np.ndarray, bits: np.ndarray, outline: int = 2, tint: float = 0.35) -> np.ndarray:
    """Return a copy of `image`, RGB uint8 (H, W, 3), with each class of the packed mask `bits`, uint8 (H, W), tinted
    and outlined in its colour. `outline` is the line width in pixels, `tint` the opacity, 0 to 1."""
    drawn = image.copy()
    for i, name in enumerate(CLASSES):
        area = (bits >> i & 1).astype(bool)
        drawn[area] = ((1 - tint) * drawn[area] + tint * np.array(COLOURS[name])).astype(np.uint8)
    for i, name in enumerate(CLASSES):
        outlines, _ = cv2.findContours(bits >> i & 1, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, COLOURS[name], outline)
    return drawn
