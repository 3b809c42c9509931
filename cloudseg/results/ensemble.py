"""Several networks' probabilities of the same images as one: their mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cloudseg.core.errors import UsageError
from cloudseg.results.probabilities import Store


class Ensemble:
    """The weighted mean, for each image, of the stores that hold it.

    Of runs that validate on the same fold this is an ensemble on that fold; of runs with a fold each it is every image
    as seen by the one run that did not train on it.
    """

    def __init__(self, stores: Sequence[Store], weights: Sequence[float] | None = None) -> None:
        """Raises UsageError for weights that are not one a store, or not above 0."""
        weights = weights or [1.0] * len(stores)
        if len(weights) != len(stores) or not all(weight > 0 for weight in weights):
            raise UsageError(f"--weights: give {len(stores)} numbers above 0, one a run, not {list(weights)}")
        self._holders: dict[str, list[tuple[Store, int, float]]] = {}
        for store, weight in zip(stores, weights, strict=True):
            for number, name in enumerate(store.names):
                self._holders.setdefault(name, []).append((store, number, weight))
        self.names = list(self._holders)

    def read(self, name: str) -> np.ndarray:
        """Probabilities of an image, uint8 (C, 350, 525), 255 for 1. Raises DataError if a file is damaged."""
        holders = self._holders[name]
        if len(holders) == 1:
            store, number, _ = holders[0]
            return store.read(number)
        total = sum(weight * store.read(number).astype(np.float32) for store, number, weight in holders)
        return np.round(total / sum(weight for *_, weight in holders)).astype(np.uint8)

    def valid(self, name: str) -> np.ndarray:
        """Where an image has data, bool (350, 525). Raises DataError as `read` does."""
        store, number, _ = self._holders[name][0]
        return store.valid(number)

    def size(self, name: str) -> tuple[int, int]:
        """Height and width of an image. Raises DataError as `read` does."""
        store, number, _ = self._holders[name][0]
        return store.size(number)
