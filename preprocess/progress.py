"""Shows progress: a bar on a terminal, lines in a job's log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

EVERY_SHARE = 0.1
"""Share of the images between two lines in a log."""
EVERY_SECONDS = 30.0
"""Maximum seconds between two lines in a log."""


class Progress:
    """Counts finished images on standard error. Use it in a `with` statement."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = self._printed_at = time.monotonic()
        self._printed = 0
        self._bar = tqdm(total=total, unit="image", dynamic_ncols=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, images: int) -> None:
        """Count `images` more images as done."""
        self._done += images
        if self._bar is not None:
            self._bar.update(images)
            return
        now = time.monotonic()
        step = self._done - self._printed
        due = step >= EVERY_SHARE * self._total or now - self._printed_at >= EVERY_SECONDS
        if due or self._done == self._total:
            rate = self._done / max(now - self._started, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            print(
                f"{self._done} of {self._total} images, {rate:.1f} images/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            self._printed, self._printed_at = self._done, now
