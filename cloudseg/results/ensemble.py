"""Ensemble: the mean of several networks' probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cloudseg.core.errors import UsageError
from cloudseg.results.probabilities import Store, stack


class Ensemble:
    """The weighted mean, for each image, of the stores that contain it.

    For runs with the same validation fold, this is an ensemble on that fold. For runs with different folds, each image
    has the probabilities of the run that did not train on it.
    """

    def __init__(self, stores: Sequence[Store], weights: Sequence[float] | None = None) -> None:
        """Raises UsageError unless there is one weight above 0 per store."""
        weights = weights or [1.0] * len(stores)
        if len(weights) != len(stores) or not all(weight > 0 for weight in weights):
            raise UsageError(f"--weights: give {len(stores)} numbers above 0, one per run, not {list(weights)}")
        self._stores: dict[str, list[tuple[Store, int, float]]] = {}
        for store, weight in zip(stores, weights, strict=True):
            for number, name in enumerate(store.names):
                self._stores.setdefault(name, []).append((store, number, weight))
        self.names = list(self._stores)

    def read_each(self, name: str) -> list[np.ndarray]:
        """Probabilities of an image by each of its stores, as `read`."""
        return [store.read(number) for store, number, _ in self._stores[name]]

    def read(self, name: str) -> np.ndarray:
        """Probabilities of an image, uint8 (C, 350, 525), 255 for 1. Raises DataError if a file is damaged."""
        stores = self._stores[name]
        if len(stores) == 1:
            store, number, _ = stores[0]
            return store.read(number)
        total = sum(weight * store.read(number).astype(np.float32) for store, number, weight in stores)
        return np.round(total / sum(weight for *_, weight in stores)).astype(np.uint8)

    def presence(self, name: str) -> np.ndarray | None:
        """Probability of each class in an image by the presence heads, float32 (C,); None if a network has none.
        Raises DataError as `read` does."""
        stores = self._stores[name]
        each = stack(store.presence(number) for store, number, _ in stores)
        if each is None:
            return None
        return np.average(each, axis=0, weights=[weight for *_, weight in stores]).astype(np.float32)

    def valid(self, name: str) -> np.ndarray:
        """Pixels of an image with data, bool (350, 525). Raises DataError as `read` does."""
        store, number, _ = self._stores[name][0]
        return store.valid(number)

    def size(self, name: str) -> tuple[int, int]:
        """Height and width of an image. Raises DataError as `read` does."""
        store, number, _ = self._stores[name][0]
        return store.size(number)
