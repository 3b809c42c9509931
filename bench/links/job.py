"""What the ranks of the links benchmark are told, and what rank 0 answers. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """Steps of a stand-in for a stage: it sleeps, and sends."""

    sleeps: list[float]
    """Seconds before each message: what the GPU would compute until its gradients are there."""
    sizes: list[int]
    """Bytes of each message."""
    steps: int


@dataclass(frozen=True)
class Took:
    seconds: list[float]
    """Of each step."""
