"""Where the time of an epoch goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Speed:
    """Of one epoch, from now on."""

    def __init__(self) -> None:
        self._began, self._trained, self._waited = time.monotonic(), 0.0, 0.0
        self.images = 0
        """Those that all ranks trained with."""

    def timed(self, batches: Iterator[T]) -> Iterator[T]:
        """The batches; waiting for them is counted."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def trained(self) -> None:
        """All steps are done; what follows is validation."""
        self._trained = time.monotonic() - self._began

    def row(self) -> dict[str, float]:
        return {
            "images_per_s": self.images / max(self._trained, 1e-9),
            "seconds": time.monotonic() - self._began,
            "waiting_s": self._waited,
        }
