"""A picture from a visitor -> probabilities. The one place of the app where TensorFlow is imported, and only once there
is a picture."""

from __future__ import annotations

import threading

import numpy as np

from cloudseg.core.run import Run
from cloudseg.data.shards import Manifest
from cloudseg.results import pictures
from cloudseg.results.pictures import Picture
from preprocess.images import ImageError

MOST_MB = 20
KINDS = ("jpg", "jpeg", "png", "tif", "tiff")


def decode(content: bytes) -> Picture:
    """The picture of a file that may be anything. Raises ImageError, with a text for whoever sent
    it."""
    if len(content) > MOST_MB * 1_000_000:
        raise ImageError(f"has {len(content) / 1e6:.0f} MB, more than {MOST_MB}")
    if not content:
        raise ImageError("is empty")
    return pictures.decode(content)


class Segmenter:
    """The best weights of a finished stage, ready to predict. For many threads, one at a time."""

    def __init__(self, run: Run, stage: str, flips: bool) -> None:
        """Raises DataError if weights are not those that the stage wrote."""
        from cloudseg.results import inference
        from cloudseg.training import restore
        from cloudseg.training.build import build_network

        manifest = Manifest.load(run.settings.data)
        network = build_network(run.settings, manifest)
        restore.load_best(run, stage, network.model)
        self._predict = inference.predictor(network, inference.FLIPS if flips else inference.FLIPS[:1])
        self._size = manifest.size
        self._turn = threading.Lock()

    def predict(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities, uint8 (C, 350, 525), 255 for 1, and where there is data, bool (350, 525)."""
        image, valid = pictures.prepare(picture, self._size)
        with self._turn:
            return self._predict(image[None], valid[None])[0], valid
