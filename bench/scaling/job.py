"""Job of a process of the scaling benchmark, and its CPUs. No TensorFlow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Arguments of one process."""

    folder: Path
    """Folder of the rendezvous of cloudseg's ranks."""
    rank: int
    ranks: int
    ports: tuple[int, ...]
    """A free port of this machine per rank, for baselines that need one."""
    network: str
    size: tuple[int, int]
    """Height and width."""
    batch: int
    """Images per rank and step."""
    encoder: float
    """Share of the encoder that trains."""
    steps: int
    """Steps per measurement."""


def pin(job: Job) -> int:
    """Bind this process to its share of the CPUs; returns their number."""
    cpus = sorted(os.sched_getaffinity(0))[job.rank :: job.ranks]
    os.sched_setaffinity(0, cpus)
    os.environ["SLURM_CPUS_PER_TASK"] = str(len(cpus))  # as Slurm sets it for tasks that it binds
    return len(cpus)


def rate(job: Job, step: Callable[[], object]) -> float:
    """Images per second of this process."""
    began = time.perf_counter()
    for _ in range(job.steps):
        step()
    return job.batch * job.steps / (time.perf_counter() - began)
