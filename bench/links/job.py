"""Job of the ranks of the links benchmark, and the answer of rank 0. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """Steps of a simulated stage, which sleeps and sends messages."""

    sleeps: list[float]
    """Seconds to sleep before each message, in place of the computation of its gradients."""
    sizes: list[int]
    """Bytes of each message."""
    steps: int


@dataclass(frozen=True)
class Took:
    seconds: list[float]
    """Duration of each step."""
