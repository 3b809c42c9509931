"""Loads pretrained weights of encoders from files; nothing is downloaded, as compute nodes have no internet access."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from cloudseg.core.errors import DataError, UsageError, to_type
from cloudseg.nets.imagenet import IMAGENET


def cached(encoder: str) -> Path:
    """Path of the ImageNet weights of `encoder` in the cache; the file need not exist."""
    cache = Path(os.environ.get("CLOUDSEG_CACHE") or Path.home() / ".cache" / "cloudseg")
    name = Path(IMAGENET[encoder].url).name if encoder in IMAGENET else f"{encoder}_imagenet_no_top.h5"
    return cache / "weights" / name


@dataclasses.dataclass(frozen=True)
class CachedFile:
    """What the cache has of an encoder's weights."""

    path: Path
    state: str
    """"present", "missing", or "partial" if a download was interrupted."""
    bytes: int | None
    """Size; None if missing."""
    digest: str
    """"right" or "wrong" if the published digest is known, "none published" if not, "unreadable"; "" unless present."""


def inspect(encoder: str) -> CachedFile:
    """Look into the cache for the weights of `encoder`. Reads the whole file to compute its digest."""
    file = cached(encoder)
    partial = file.with_name(f"{file.name}.part")
    if not file.exists():
        if partial.exists():
            return CachedFile(file, "partial", partial.stat().st_size, "")
        return CachedFile(file, "missing", None, "")
    try:
        right = IMAGENET[encoder].matches(file) if encoder in IMAGENET else None
    except OSError:
        return CachedFile(file, "present", file.stat().st_size, "unreadable")
    digest = {True: "right", False: "wrong", None: "none published"}[right]
    return CachedFile(file, "present", file.stat().st_size, digest)


def require(weights: str, encoder: str) -> None:
    """Check the setting `weights`.

    Raises UsageError, with what to type, if it names a file that does not exist; DataError if the file of "imagenet" is
    not the published one of `encoder`.
    """
    if weights == "none":
        return
    file = cached(encoder) if weights == "imagenet" else Path(weights)
    fetch = to_type("cloudseg.weights", "fetch", encoder)
    if file.exists():
        if weights == "imagenet" and encoder in IMAGENET and not IMAGENET[encoder].matches(file):
            raise DataError(f"{file} is damaged, or of another encoder; on the login node: {fetch}")
        return
    if weights != "imagenet":
        raise UsageError(
            f"weights: {file} is not there; copy it there, or begin a new run from another file, --set weights=FILE, "
            "or from random weights: --set weights=none"
        )
    if encoder not in IMAGENET:
        raise UsageError(
            f"weights: no download is known for the encoder {encoder!r}; copy its file to {file}, or begin a new run "
            "from random weights: --set weights=none"
        )
    raise UsageError(
        f"weights: {file} is not there, and jobs do not download; on the login node: {fetch}   (or begin a new run "
        "from random weights: --set weights=none)"
    )


def load(model: Any, layers: tuple[str, ...], encoder: str, weights: str) -> None:
    """Load the encoder `layers` of a Keras `model` from an HDF5 weights file.

    Layers are matched by name if the file has all names; otherwise the file must hold the whole encoder, with layers in
    Keras's order.

    Raises UsageError if the file is missing, DataError if it is damaged, of another encoder, or lacks weights of a
    layer.
    """
    import h5py

    require(weights, encoder)
    file = cached(encoder) if weights == "imagenet" else Path(weights)
    before = {name: [w.copy() for w in model.get_layer(name).get_weights()] for name in layers}
    try:
        with h5py.File(file) as content:
            root = content.get("model_weights", content)
            named = all(name in root for name in layers)
        if named:
            model.load_weights(file, by_name=True)
        else:
            _load_in_order(model, layers, encoder, file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} does not fit {encoder}: {error}") from None
    unchanged = [
        name
        for name in layers
        if model.get_layer(name).count_params()
        and all((a == b).all() for a, b in zip(before[name], model.get_layer(name).get_weights(), strict=True))
    ]
    if unchanged:
        raise DataError(
            f"{file} has no weights for {len(unchanged)} of {len(layers)} encoder layers, as {unchanged[0]}"
        )


def _load_in_order(model: Any, layers: tuple[str, ...], encoder: str, file: Path) -> None:
    """Load the file into an encoder without a decoder, for which it was made, and copy the weights to the model.

    Many encoders have automatic layer names, whose numbers depend on the models that were built before.
    """
    from cloudseg.nets import encoders

    alone = encoders.build(encoder, model.input_shape[1:3])
    alone.load_weights(file)
    for name in layers:
        model.get_layer(name).set_weights(alone.get_layer(name).get_weights())
