"""What a process of the scaling benchmark is told, and where it runs. No TensorFlow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    folder: Path
    """Where the ranks of ours meet."""
    rank: int
    ranks: int
    ports: tuple[int, ...]
    """One a rank, on this machine, for ways that need them."""
    network: str
    size: tuple[int, int]
    """Height and width."""
    batch: int
    """Images a rank and step."""
    encoder: float
    """Share of the encoder that trains."""
    steps: int
    """Of a measurement."""


def pin(job: Job) -> int:
    """Give this process its share of the CPUs, for good, and say how many they are."""
    own = sorted(os.sched_getaffinity(0))[job.rank :: job.ranks]
    os.sched_setaffinity(0, own)
    os.environ["SLURM_CPUS_PER_TASK"] = str(len(own))  # as Slurm says it of tasks that it has bound
    return len(own)


def rate(job: Job, step: Callable[[], object]) -> float:
    """Images a second of this process."""
    began = time.perf_counter()
    for _ in range(job.steps):
        step()
    return job.batch * job.steps / (time.perf_counter() - began)
