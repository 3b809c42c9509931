"""What the ranks of the checkpoint benchmark are told, and what rank 0 answers. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Saving:
    network: str
    size: list[int]
    """Height and width of the images."""
    rounds: int


@dataclass(frozen=True)
class Saved:
    """Seconds of each round."""

    megabytes: float
    """Of one checkpoint."""
    snapshot: list[float]
    """The part of `save` for which training stands still."""
    save: list[float]
    cpu: list[float]
    """Of `save`, on all threads together: what training may lose where it has no CPU to spare."""
    restore: list[float]
    raw: list[float]
    device: str


@dataclass(frozen=True)
class Blocks:
    shards: str
    network: str
    batch: int
    seconds: float
    """Of one block, about."""
    rounds: int


@dataclass(frozen=True)
class Trained:
    """Seconds of each block of `steps` steps, in turns without a checkpoint and with one."""

    steps: int
    without: list[float]
    having: list[float]
    writing: list[float]
    """How long it took in the background."""
    peak_mib: list[float]
    """Of each rank, with the processes of its feed."""
    device: str
