"""What a contender of the feed is told, and how the speed of all of them is taken. No TensorFlow here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.source import Source
from cloudseg.data.sample_order import epoch_order
from cloudseg.data.shards import Manifest, Shards

WARM_UP_S, WARM_UP_BATCHES = 0.5, 4
"""Not timed: processes start, buffers fill, AUTOTUNE finds its numbers."""
MOST_PER_S = 100_000
"""Samples: no contender is faster, so an order this long does not end before the time."""


@dataclass(frozen=True)
class Job:
    """`written` holds what baselines wrote of the same samples; `images` are the JPEGs, if there are any."""

    shards: Path
    images: Source | None
    written: Path
    samples: int
    batch: int
    workers: int
    seconds: float
    augment: bool = False

    def open(self) -> Shards:
        return Shards(Manifest.load(self.shards))

    def order(self, seed: int) -> np.ndarray:
        """Rows of one batch in random order, int (steps, batch): as many epochs as a measurement may see."""
        steps = int(MOST_PER_S * (self.seconds + WARM_UP_S)) // self.batch + WARM_UP_BATCHES
        numbers, rows = np.arange(self.samples), -(-self.samples // self.batch)
        epochs = [epoch_order(numbers, seed, epoch, self.batch) for epoch in range(-(-steps // rows))]
        return np.concatenate(epochs)[:steps]


def samples_per_second(batches: Iterator[Any], job: Job) -> float:
    """How fast `batches` come to a consumer that does nothing with them."""
    began, warm = time.perf_counter(), 0
    while warm < WARM_UP_BATCHES or time.perf_counter() - began < WARM_UP_S:
        next(batches)
        warm += 1
    began, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < job.seconds:
        next(batches)
        count += 1
    return count * job.batch / elapsed
