"""ImageNet weights of encoders, from files only: compute nodes have no internet."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

from cloudseg.errors import DataError, UsageError


@dataclasses.dataclass(frozen=True)
class Source:
    url: str
    md5: str
    """As published beside the file; it tells a broken download, not a forged one."""


_RELEASE = "https://github.com/qubvel/classification_models/releases/download/0.0.1"
IMAGENET = {
    "resnet18": Source(f"{_RELEASE}/resnet18_imagenet_1000_no_top.h5", "318e3ac0cd98d51e917526c9f62f0b50"),
    "resnet34": Source(f"{_RELEASE}/resnet34_imagenet_1000_no_top.h5", "8caaa0ad39d927cb8ba5385bf945d582"),
}
"""Encoders without their classifier, from the release that segmentation_models itself uses."""


def cached(encoder: str) -> Path:
    """Where the ImageNet weights of `encoder` lie, whether they are there or not."""
    cache = Path(os.environ.get("CLOUDSEG_CACHE") or Path.home() / ".cache" / "cloudseg")
    name = Path(IMAGENET[encoder].url).name if encoder in IMAGENET else f"{encoder}_imagenet_no_top.h5"
    return cache / "weights" / name


def require(weights: str, encoder: str) -> None:
    """Raises UsageError, with the line to type, if the setting `weights` names a file that is not there."""
    if weights == "none":
        return
    file = cached(encoder) if weights == "imagenet" else Path(weights)
    if file.exists():
        return
    if weights != "imagenet":
        raise UsageError(f"weights: {file} is not there; name a file, or --set weights=none")
    if encoder not in IMAGENET:
        raise UsageError(
            f"weights: no download is known for the encoder {encoder!r}; put its file at {file}, or --set weights=none"
        )
    raise UsageError(
        f"weights: {file} is not there, and jobs do not download; on the login node: "
        f"python -m cloudseg.weights fetch {encoder}   (or start from random weights: --set weights=none)"
    )


def load(model: Any, layers: tuple[str, ...], encoder: str, weights: str) -> None:
    """Fill the encoder `layers` of a Keras `model` by name from an HDF5 weights file.

    Raises UsageError if the file is missing, DataError if it is broken or leaves a layer of the encoder unfilled.
    """
    require(weights, encoder)
    file = cached(encoder) if weights == "imagenet" else Path(weights)
    if weights == "imagenet" and encoder in IMAGENET and md5(file) != IMAGENET[encoder].md5:
        raise DataError(f"{file} is damaged; remove it and type: python -m cloudseg.weights fetch {encoder}")
    before = {name: [w.copy() for w in model.get_layer(name).get_weights()] for name in layers}
    try:
        model.load_weights(file, by_name=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} does not fit {encoder}: {error}") from None
    same = [
        name
        for name in layers
        if model.get_layer(name).count_params()
        and all((a == b).all() for a, b in zip(before[name], model.get_layer(name).get_weights(), strict=True))
    ]
    if same:
        raise DataError(f"{file} does not fill {len(same)} of {len(layers)} encoder layers, first {same[0]}")


def md5(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()
