"""Cost of a layer in FLOPs and bytes, for the performance model (`cloudseg.performance.model`). No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """Cost of a layer with weights."""

    flops: float
    """FLOPs of one image in the forward pass; a multiply-add counts as 2. Only convolutions are counted."""
    parameters: int
    """Number of trainable parameters."""
    statistics: int
    """Number of BatchNorm's moving statistics, which are averaged together with the gradients."""
    trains: bool
    """Whether the layer trains in the stage."""


def forward(layers: Sequence[Layer]) -> float:
    """FLOPs of one image in the forward pass."""
    return sum(layer.flops for layer in layers)


def backward(layers: Sequence[Layer]) -> list[float]:
    """FLOPs of one image in the backward pass, per layer.

    A layer that trains computes the gradient of its weights; a layer behind one that trains, the gradient of its input.
    """
    first = next((i for i, layer in enumerate(layers) if layer.trains), len(layers))
    return [layer.flops * (layer.trains + (i > first)) for i, layer in enumerate(layers)]


def message(layers: Sequence[Layer], compressed: bool = False) -> list[int]:
    """Bytes that each layer sends in a step: gradients, as float16 if `compressed`, and statistics as float32."""
    width = 2 if compressed else 4
    return [(width * layer.parameters + 4 * layer.statistics) * layer.trains for layer in layers]
