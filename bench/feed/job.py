"""Job of a contender of the feed benchmark, and the measurement that all contenders share. No TensorFlow."""

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
"""Time and batches before timing starts: processes start, buffers fill, AUTOTUNE adapts."""
MAX_PER_S = 100_000
"""Samples per second that no contender exceeds; it decides how many samples a measurement prepares."""


@dataclass(frozen=True)
class Job:
    """`written` is the folder of the baselines' files with the same samples; `images` are the JPEGs, or None."""

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
        """Sample numbers in random order, int (steps, batch), for as many epochs as a measurement may take."""
        steps = int(MAX_PER_S * (self.seconds + WARM_UP_S)) // self.batch + WARM_UP_BATCHES
        numbers, rows = np.arange(self.samples), -(-self.samples // self.batch)
        epochs = [epoch_order(numbers, seed, epoch, self.batch) for epoch in range(-(-steps // rows))]
        return np.concatenate(epochs)[:steps]


def samples_per_second(batches: Iterator[Any], job: Job) -> float:
    """Throughput of `batches` with a consumer that does nothing."""
    began, warm = time.perf_counter(), 0
    while warm < WARM_UP_BATCHES or time.perf_counter() - began < WARM_UP_S:
        next(batches)
        warm += 1
    began, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < job.seconds:
        next(batches)
        count += 1
    return count * job.batch / elapsed
