"""What was predicted of one picture, at its size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloudseg.geo.georeference import Georeference

NO_DATA = 255
"""Value of pixels without data in masks and packed probabilities."""
STEPS = 254
"""Packed probability of 1: a uint8 below NO_DATA."""


@dataclass(frozen=True)
class Layers:
    """Masks and probabilities of the classes in the order of CLASSES, of an upright picture of H x W pixels, north up:
    `masks`, bool (C, H, W); `probability`, uint8 (C, H, W), 255 for 1; `valid`, bool (H, W), pixels with data."""

    name: str
    masks: np.ndarray
    probability: np.ndarray
    valid: np.ndarray
    reference: Georeference

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.valid.shape[0], self.valid.shape[1]

    def marked_masks(self) -> np.ndarray:
        """uint8 (C, H, W): 1 in a mask, 0 outside, NO_DATA without data."""
        return np.where(self.valid, self.masks, np.uint8(NO_DATA))

    def packed_probability(self) -> np.ndarray:
        """uint8 (C, H, W): the probability times STEPS, rounded; NO_DATA without data."""
        packed = np.round(np.arange(256) * (STEPS / 255)).astype(np.uint8)
        return np.where(self.valid, packed[self.probability], np.uint8(NO_DATA))
