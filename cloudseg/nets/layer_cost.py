"""What a layer costs: for the model of many GPUs (`cloudseg.performance.model`). No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    flops: float
    """Of one image forward, 2 a multiply-add; convolutions alone count."""
    parameters: int
    """That train if the layer does."""
    statistics: int
    """BatchNorm's moving ones, which travel with the gradients."""
    trains: bool


def forward(layers: Sequence[Layer]) -> float:
    """Flops of one image."""
    return sum(layer.flops for layer in layers)


def backward(layers: Sequence[Layer]) -> list[float]:
    """Flops of one image, of each layer: for its weights, if it trains; for its input, if a layer before it does."""
    first = next((i for i, layer in enumerate(layers) if layer.trains), len(layers))
    return [layer.flops * (layer.trains + (i > first)) for i, layer in enumerate(layers)]


def message(layers: Sequence[Layer], compressed: bool = False) -> list[int]:
    """Bytes that a step sends of each layer: gradients, as float16 if `compressed`, and statistics, float32."""
    width = 2 if compressed else 4
    return [(width * layer.parameters + 4 * layer.statistics) * layer.trains for layer in layers]
