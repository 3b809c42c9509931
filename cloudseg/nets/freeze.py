"""Selects the layers that train: the decoder, and the last encoder layers with a given share of its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from cloudseg.nets.models import Network


BLOCKS = {"mobilenetv2": (2, 4, *16 * (6,), 2)}
"""Encoders whose share is cut only between blocks: the number of layers with weights in each block.

MobileNetV2 (Sandler et al. 2018, table 2): the first convolution with its BatchNorm; 17 inverted residuals of three
convolutions (expansion, depthwise, projection), each with BatchNorm, the first one without expansion; the last
convolution with its BatchNorm. A projection's BatchNorm that trains behind a frozen projection would change the
shortcut of its block alone."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Properties of a layer that decide whether it trains."""

    name: str
    parameters: int
    """Number of parameters, including BatchNorm statistics."""
    encoder: bool
    """Whether it is an encoder layer with weights."""
    batchnorm: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """The encoder layers that train in a stage."""

    encoder_layers: tuple[str, ...]
    """Names of the encoder layers that train, in the order of the model."""
    encoder_share: float
    """Share of the encoder's parameters in these layers: as near to the requested share as layer boundaries allow."""
    train_bn: bool = False
    """Whether the BatchNorm layers of the frozen part train too."""

    def __str__(self) -> str:
        if self.encoder_share == 1.0:
            return "everything"
        frozen = "BatchNorm trains there" if self.train_bn else "BatchNorm statistics included"
        if not self.encoder_layers:
            return f"the decoder; the encoder is frozen, {frozen}"
        return (
            f"the decoder and {len(self.encoder_layers)} encoder layers from {self.encoder_layers[0]} to "
            f"{self.encoder_layers[-1]}, {self.encoder_share:.1%} of the encoder's parameters; the others are frozen, "
            f"{frozen}"
        )


def block_starts(encoder: str) -> frozenset[int] | None:
    """Indices, among an encoder's layers with weights, of the first layer of each block; None if it may be cut at any
    layer."""
    blocks = BLOCKS.get(encoder)
    return frozenset(accumulate(blocks[:-1], initial=0)) if blocks else None


def plan(layers: Sequence[tuple[str, int]], share: float, starts: Container[int] | None = None) -> Plan:
    """Select the last of `layers`, (name, number of parameters) in order, that hold about `share` of all parameters.

    The cut is at the layer boundary nearest to `share`; 0 selects none, 1 selects all. With `starts` the first selected
    layer is one with an index in it.
    """
    total = sum(count for _, count in layers)
    selected, best, cut = 0, abs(share), len(layers)
    for index in range(len(layers) - 1, -1, -1):
        selected += layers[index][1]
        if starts is not None and index not in starts:
            continue
        if (distance := abs(selected / total - share)) < best or share == 1.0:
            best, cut = distance, index
    chosen = layers[cut:]
    return Plan(tuple(name for name, _ in chosen), sum(count for _, count in chosen) / total)


def choose(
    parts: Sequence[Part], share: float, train_bn: bool = False, starts: Container[int] | None = None
) -> tuple[Plan, list[bool]]:
    """Return the plan for `parts`, in the order of the model, and for each part whether it trains; see `freeze`.

    `starts` are those of `plan`, among the encoder's parts.
    """
    sizes = [(part.name, part.parameters) for part in parts if part.encoder]
    chosen = dataclasses.replace(plan(sizes, share, starts), train_bn=train_bn)
    trained = set(chosen.encoder_layers)
    return chosen, [not part.encoder or part.name in trained or (train_bn and part.batchnorm) for part in parts]


def freeze(network: Network, share: float, train_bn: bool = False) -> Plan:
    """Make the decoder and the last `share` of the encoder trainable, and freeze the other layers.

    A frozen BatchNorm layer keeps its moving statistics too: Keras runs it in inference mode. With `train_bn` all
    BatchNorm layers of the encoder train.
    """
    encoder = set(network.encoder)
    parts = [
        Part(layer.name, layer.count_params(), layer.name in encoder, "BatchNormalization" in type(layer).__name__)
        for layer in network.model.layers
    ]
    chosen, trains = choose(parts, share, train_bn, network.block_starts)
    for layer, trained in zip(network.model.layers, trains, strict=True):
        layer.trainable = trained
    return chosen


def encoder_variables(network: Network) -> list[tf.Variable]:
    """Variables of the encoder that train."""
    return [variable for name in network.encoder for variable in network.model.get_layer(name).trainable_variables]


def moving_statistics(model: tf.keras.Model) -> list[tf.Variable]:
    """Moving means and variances of the BatchNorm layers that train."""
    return [variable for layer in model.layers if layer.trainable for variable in layer.non_trainable_variables]
