"""Job of the ranks of the step benchmark, and the answer of rank 0. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    shards: str
    network: str
    batch: int
    steps: int
    rounds: int


@dataclass(frozen=True)
class Answer:
    """Mean seconds per step of each block, with the constant batch and with the feed, and those of waiting for it."""

    constant: list[float]
    fed: list[float]
    waited: list[float]
    peak_mib: list[float]
    """Peak memory of each rank with its feed workers."""
    device: str
