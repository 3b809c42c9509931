"""How far along: a bar on a terminal, a line now and then in a job's log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

EVERY_PART = 0.1
EVERY_SECONDS = 30.0


class Progress:
    """Counts images on standard error. To be used in a `with` statement."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = self._said_at = time.monotonic()
        self._said = 0
        self._bar = tqdm(total=total, unit="image", dynamic_ncols=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, images: int) -> None:
        """So many more images are done."""
        self._done += images
        if self._bar is not None:
            self._bar.update(images)
            return
        now = time.monotonic()
        enough = self._done - self._said >= EVERY_PART * self._total or now - self._said_at >= EVERY_SECONDS
        if enough or self._done == self._total:
            rate = self._done / max(now - self._started, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            print(
                f"{self._done} of {self._total} images, {rate:.1f} images/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            self._said, self._said_at = self._done, now
