"""Statistics of a data set from its manifest. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import Manifest


def areas(manifest: Manifest) -> np.ndarray:
    """Share of the pixels with data of each image that each class covers: float64 (n, C)."""
    height, width = manifest.size
    pixels = np.array([height * width - sample.no_data for sample in manifest.samples])[:, None]
    covered = np.array([sample.areas for sample in manifest.samples], np.float64).reshape(-1, len(CLASSES))
    return covered / np.maximum(pixels, 1)


def counts(shares: np.ndarray, validation: np.ndarray) -> pd.DataFrame:
    """Number of images with each class: columns class, part ("training" or "validation") and images.

    `shares` comes from `areas`; `validation`, bool (n,), selects the validation images.
    """
    rows = [
        (name, part, int((shares[on, c] > 0).sum()))
        for c, name in enumerate(CLASSES)
        for part, on in (("training", ~validation), ("validation", validation))
    ]
    return pd.DataFrame(rows, columns=["class", "part", "images"])


def cooccurrence(shares: np.ndarray) -> pd.DataFrame:
    """Number of images with both of two classes: columns class, other and images. For equal classes: images with it."""
    present = (shares > 0).astype(np.int64)
    table = present.T @ present
    rows = [(one, other, int(table[i, j])) for i, one in enumerate(CLASSES) for j, other in enumerate(CLASSES)]
    return pd.DataFrame(rows, columns=["class", "other", "images"])


def classes_per_image(shares: np.ndarray) -> pd.DataFrame:
    """Number of images by their number of classes: columns classes (0 to 4) and images."""
    images = np.bincount((shares > 0).sum(axis=1), minlength=len(CLASSES) + 1)
    return pd.DataFrame({"classes": range(len(images)), "images": images})


def distribution(shares: np.ndarray, bins: int = 20) -> pd.DataFrame:
    """Histogram of the share of an image that a class covers, over the images with the class: columns class, share (the
    centre of the bin) and images."""
    edges = np.linspace(0, 1, bins + 1)
    rows = []
    for c, name in enumerate(CLASSES):
        some = shares[:, c][shares[:, c] > 0]
        images, _ = np.histogram(some, edges)
        rows += [(name, (edges[i] + edges[i + 1]) / 2, int(count)) for i, count in enumerate(images)]
    return pd.DataFrame(rows, columns=["class", "share", "images"])
