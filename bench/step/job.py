"""What the ranks of the step benchmark are told, and what rank 0 answers. No TensorFlow."""

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
    """Of each block, in turns constant and fed: mean seconds of a step, and how much of a fed one was waiting."""

    constant: list[float]
    fed: list[float]
    waited: list[float]
    peak_mib: list[float]
    """Of each rank, with the processes of its feed."""
    device: str
