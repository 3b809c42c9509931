"""Packed masks: one byte per pixel with a bit for each class, as in the shards."""

from __future__ import annotations

import numpy as np

from cloudseg.data.labels import CLASSES, NO_DATA


def pack(masks: np.ndarray) -> np.ndarray:
    """Pack masks, bool (C, h, w) -> uint8 (h, w), with bit c for class c."""
    return np.asarray(sum(mask.astype(np.uint8) << c for c, mask in enumerate(masks)), np.uint8)


def unpack(bits: np.ndarray) -> np.ndarray:
    """Unpack masks, uint8 (h, w) -> bool (C, h, w)."""
    return np.stack([bits >> c & 1 == 1 for c in range(len(CLASSES))])


def has_data(bits: np.ndarray) -> np.ndarray:
    """Pixels with data: uint8 (h, w) -> bool (h, w)."""
    return bits & NO_DATA == 0
