"""Images made smaller by area average, larger by linear interpolation."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess import native


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image, uint8 (H, W, 3), at `size` (height, width): the mean of the area that each pixel covers, rounded; by
    linear interpolation if it becomes larger. Itself if it has that size."""
    if image.shape[:2] == size:
        return image
    (height, width), (rows, columns) = image.shape[:2], size
    if rows > height or columns > width:
        return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return native.area_average(image, size)
