"""Pseudo-labels (Lee 2013): masks of pictures without labels, from the probabilities that a network predicts for them.

A probability p of at least 0.5 is a positive label, as the most probable class is in the paper. Its confidence is
max(p, 1 - p). Two limits keep out labels that are likely to be wrong: a picture is used if its mean confidence is high
enough, and a pixel that is not sure in every class has no data, so losses ignore it (the threshold of FixMatch, Sohn et
al. 2020, equation 4). The loss of a picture is weighted by its mean confidence; Tranheden et al. 2021 (DACS) weight it
by the share of sure pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from cloudseg.core.errors import UsageError
from cloudseg.data.bitmask import pack
from cloudseg.data.labels import CLASSES, NO_DATA
from cloudseg.data.shards import Manifest


def source(weights_sha256: str) -> str:
    """`shards.Sample.label_source` of labels by a network with weights of this sha256 (hex)."""
    return f"pseudo: {weights_sha256}"


def confidence(probability: np.ndarray, valid: np.ndarray) -> float:
    """Mean of max(p, 1 - p) over the classes and pixels with data, 0.5 to 1; 0 if no pixel has data.

    `probability`: uint8 (C, h, w), 255 for 1; `valid`: pixels with data, bool (h, w).
    """
    return float(_levels(probability)[:, valid].mean(dtype=np.float64) / 255) if valid.any() else 0.0


def labels(probability: np.ndarray, valid: np.ndarray, sure: float) -> np.ndarray:
    """Packed mask, uint8 (h, w): the classes with p of at least 0.5; NO_DATA where a class has a confidence below
    `sure`, 0.5 to 1, and where `valid` is False. Arguments as of `confidence`."""
    certain = valid & (_levels(probability) >= 255 * sure).all(axis=0)
    return np.where(certain, pack(probability >= 127.5), np.uint8(NO_DATA))


def _levels(probability: np.ndarray) -> np.ndarray:
    """Confidence times 255, uint8."""
    return np.maximum(probability, 255 - probability)


def check_names(names: Collection[str], manifest: Manifest) -> None:
    """Raises UsageError if a picture without labels has the name of an image of the data set.

    Its pseudo-labels would contradict its labels; and if it validates, scores would no longer be of unseen images.
    """
    if known := sorted(set(names) & {sample.name for sample in manifest.samples}):
        more = f" and {len(known) - 1} more" if len(known) > 1 else ""
        raise UsageError(
            f"unlabelled: {known[0]}{more} is in the data set {manifest.folder} with labels; move it out of the "
            "folder, or rename it if it is another picture"
        )


def summary(manifest: Manifest) -> dict[str, Any]:
    """Number of samples, share of them with each class, and sha256 of the manifest, for DONE.json."""
    areas = np.array([sample.areas for sample in manifest.samples])
    prevalence = (areas > 0).mean(axis=0)
    return {
        "samples": len(manifest.samples),
        "prevalence": {name: round(float(share), 4) for name, share in zip(CLASSES, prevalence, strict=True)},
        "manifest_sha256": manifest.digest,
    }
