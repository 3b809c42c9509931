"""Resizes images: area average to smaller sizes, linear interpolation to larger sizes."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess import native


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image, uint8 (H, W, 3), to `size` (height, width).

    A smaller image has the mean of the area that each pixel covers, rounded; a larger one is interpolated linearly. An
    image of that size is returned unchanged.
    """
    if image.shape[:2] == size:
        return image
    (height, width), (rows, columns) = image.shape[:2], size
    if rows > height or columns > width:
        return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return native.area_average(image, size)
