"""Decodes and segments uploaded pictures. The only module of the app that imports TensorFlow, at the first picture."""

from __future__ import annotations

import threading

import numpy as np

from cloudseg.core.run import Run
from cloudseg.data.shards import Manifest
from cloudseg.results import pictures
from cloudseg.results.pictures import Picture
from preprocess.images import ImageError, may_be_halved

MAX_MB = 20
KINDS = ("jpg", "jpeg", "png", "tif", "tiff")


def decode(content: bytes, size: tuple[int, int]) -> Picture:
    """Decode an uploaded file for a network of images of `size`, as `predict` does. Raises ImageError, whose text is
    for the user, if it is not a valid picture."""
    if len(content) > MAX_MB * 1_000_000:
        raise ImageError(f"has {len(content) / 1e6:.0f} MB, more than {MAX_MB}")
    if not content:
        raise ImageError("is empty")
    return pictures.decode(content, half=may_be_halved(size))


class Segmenter:
    """A network with the best weights of a finished stage. Threads may share it; they predict one at a time."""

    def __init__(self, run: Run, stage: str, flips: bool) -> None:
        """Raises DataError if the weights are not those that the stage wrote."""
        from cloudseg.results import inference
        from cloudseg.training import restore
        from cloudseg.training.build import build_network

        manifest = Manifest.load(run.settings.data)
        network = build_network(run.settings, manifest)
        restore.load_best(run, stage, network.model)
        self._predict = inference.predictor(network, inference.FLIPS if flips else inference.FLIPS[:1])
        self.size = manifest.size
        self._lock = threading.Lock()

    def predict(self, picture: Picture) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Predict probabilities, uint8 (C, 350, 525), 255 for 1, and those of the presence head, float32 (C,), or None
        without it; also returns the pixels with data, bool (350, 525)."""
        image, valid = pictures.prepare(picture, self.size)
        with self._lock:
            probability, presence = self._predict(image[None], valid[None])
        return probability[0], None if presence is None else presence[0], valid
