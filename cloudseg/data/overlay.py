"""Classes drawn over an image."""

from __future__ import annotations

import cv2
import numpy as np

from cloudseg.data.colours import COLOURS
from cloudseg.data.labels import CLASSES


def overlay(image: np.ndarray, bits: np.ndarray, outline: int = 2, tint: float = 0.35) -> np.ndarray:
    """An image, RGB uint8 (H, W, 3), with each class of `bits`, uint8 (H, W), tinted and outlined in its colour; the
    outline is so many pixels wide."""
    drawn = image.copy()
    for i, name in enumerate(CLASSES):
        area = (bits >> i & 1).astype(bool)
        drawn[area] = ((1 - tint) * drawn[area] + tint * np.array(COLOURS[name])).astype(np.uint8)
    for i, name in enumerate(CLASSES):
        outlines, _ = cv2.findContours(bits >> i & 1, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, COLOURS[name], outline)
    return drawn
