"""Measures the throughput and the waiting times of an epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Speed:
    """Timer of one epoch, started when it is created."""

    def __init__(self) -> None:
        self._began, self._trained, self._waited = time.monotonic(), 0.0, 0.0
        self.images = 0
        """Number of images that all ranks together have trained on."""

    def timed(self, batches: Iterator[T]) -> Iterator[T]:
        """Yield the batches, and add up the time spent waiting for them."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def steps_done(self) -> None:
        """Stop the clock of the throughput: all steps are done, validation follows."""
        self._trained = time.monotonic() - self._began

    def row(self) -> dict[str, float]:
        """The columns `images_per_s`, `seconds` and `waiting_s` of history.csv."""
        return {
            "images_per_s": self.images / max(self._trained, 1e-9),
            "seconds": time.monotonic() - self._began,
            "waiting_s": self._waited,
        }
