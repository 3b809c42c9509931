"""Jobs of the ranks of the checkpoint benchmark, and the answers of rank 0. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Saving:
    """Job: save and restore checkpoints of a network."""

    network: str
    size: list[int]
    """Height and width of the images."""
    rounds: int


@dataclass(frozen=True)
class Saved:
    """Answer to Saving: seconds of each round."""

    megabytes: float
    """Size of one checkpoint."""
    snapshot: list[float]
    """Part of `save` during which training waits."""
    save: list[float]
    cpu: list[float]
    """CPU seconds of `save` on all threads, which training may lose if it has no spare CPU."""
    restore: list[float]
    raw: list[float]
    """Raw writes of the same size."""
    device: str


@dataclass(frozen=True)
class Blocks:
    """Job: train in blocks, with and without checkpoints."""

    shards: str
    network: str
    batch: int
    seconds: float
    """Approximate duration of a block."""
    rounds: int


@dataclass(frozen=True)
class Trained:
    """Answer to Blocks: seconds of each block of `steps` steps, without a checkpoint and with one."""

    steps: int
    without: list[float]
    having: list[float]
    writing: list[float]
    """Seconds that each checkpoint took in the background."""
    peak_mib: list[float]
    """Peak memory of each rank with its feed workers."""
    device: str
