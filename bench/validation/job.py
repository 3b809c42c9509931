"""Job of the ranks of the validation benchmark, and the answer of rank 0. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    shards: str
    network: str
    batch: int
    images: int
    rounds: int


@dataclass(frozen=True)
class Answer:
    """Images per second of all ranks in each block: of validation, and of the forward pass on ready batches."""

    validation: list[float]
    forward: list[float]
    device: str
