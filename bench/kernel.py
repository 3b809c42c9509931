"""How typical public Kaggle kernels convert a JPEG and run-length masks to training arrays; used in baselines only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

Rows = Sequence[tuple[str, str]]
"""Class and runs of each row of the table about one image."""
CLASSES = ("Fish", "Flower", "Gravel", "Sugar")


def image_and_masks(path: Path, rows: Rows, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Decode at full size, then resize: image uint8 (h, w, 3) and masks float32 (h, w, 4), 0 to 1.

    Most public versions of this function use float32 masks; a few use uint8.
    """
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    masks = np.zeros((*image.shape[:2], len(CLASSES)), np.float32)
    for label, runs in rows:
        if runs:
            masks[..., CLASSES.index(label)] = rle_decode(runs, *image.shape[:2])
    return cv2.resize(image, size[::-1]), cv2.resize(masks, size[::-1])


def rle_decode(runs: str, height: int, width: int) -> np.ndarray:
    """Decode runs into a mask, uint8 (height, width), 0 or 1."""
    words = runs.split()
    starts, lengths = (np.asarray(part, dtype=int) for part in (words[0::2], words[1::2]))
    starts -= 1
    flat = np.zeros(height * width, np.uint8)
    for start, end in zip(starts, starts + lengths, strict=True):
        flat[start:end] = 1
    return flat.reshape(height, width, order="F")
