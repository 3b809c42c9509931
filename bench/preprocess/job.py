"""Job of a contender of the preprocess benchmark, and its measurement in several processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from bench.kernel import Rows


@dataclass(frozen=True)
class Job:
    """`images` are files, each with its rows of the table."""

    images: tuple[tuple[Path, Rows], ...]
    workers: int
    size: tuple[int, int]
    scratch: Path


def images_per_second(job: Job, work: Callable[[Job], object]) -> Callable[[], float]:
    """A measurement of `work` in running processes, in images/s per process."""
    # The processes of this pool end with this process; it would wait without end for those of concurrent.futures.
    pool = multiprocessing.get_context("spawn").Pool(job.workers, cv2.setNumThreads, (1,))
    parts = [Job(job.images[i :: job.workers], 1, job.size, job.scratch / f"part-{i}") for i in range(job.workers)]

    def measure() -> float:
        began = time.perf_counter()
        pool.map(work, parts, chunksize=1)
        return len(job.images) / (time.perf_counter() - began) / job.workers

    return measure
