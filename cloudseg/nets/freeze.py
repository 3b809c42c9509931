"""Which layers train: the decoder always, of the encoder the last ones that hold a share of its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from cloudseg.nets.models import Network


@dataclasses.dataclass(frozen=True)
class Part:
    """What decides whether a layer trains."""

    name: str
    parameters: int
    """BatchNorm statistics included."""
    encoder: bool
    """Whether it is one of the encoder's layers with weights."""
    batchnorm: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """What trains in a stage."""

    encoder_layers: tuple[str, ...]
    """Names of the encoder's layers that train, from first to last."""
    encoder_share: float
    """Share of the encoder's parameters that they hold: what the layer boundaries allow, near what was asked."""
    train_bn: bool = False
    """Whether the BatchNorm layers among the others train nevertheless."""

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


def plan(layers: Sequence[tuple[str, int]], share: float) -> Plan:
    """Choose the last of `layers` (name, number of parameters), in order, that hold about `share` of all.

    The cut is at the layer boundary nearest to `share`; 0 takes none, 1 takes all.
    """
    total = sum(count for _, count in layers)
    held, best, cut = 0, abs(share), len(layers)
    for index in range(len(layers) - 1, -1, -1):
        held += layers[index][1]
        if (distance := abs(held / total - share)) < best or share == 1.0:
            best, cut = distance, index
    chosen = layers[cut:]
    return Plan(tuple(name for name, _ in chosen), sum(count for _, count in chosen) / total)


def choose(parts: Sequence[Part], share: float, train_bn: bool = False) -> tuple[Plan, list[bool]]:
    """What trains of `parts`, in the order of the model, and whether each does; see `freeze`."""
    sizes = [(part.name, part.parameters) for part in parts if part.encoder]
    chosen = dataclasses.replace(plan(sizes, share), train_bn=train_bn)
    trained = set(chosen.encoder_layers)
    return chosen, [not part.encoder or part.name in trained or (train_bn and part.batchnorm) for part in parts]


def freeze(network: Network, share: float, train_bn: bool = False) -> Plan:
    """Let the decoder and the last `share` of the encoder train, and nothing else.

    A frozen BatchNorm layer keeps its statistics too: Keras runs it in inference mode. With `train_bn` the encoder's
    BatchNorm layers all train.
    """
    encoder = set(network.encoder)
    parts = [
        Part(layer.name, layer.count_params(), layer.name in encoder, "BatchNormalization" in type(layer).__name__)
        for layer in network.model.layers
    ]
    chosen, trains = choose(parts, share, train_bn)
    for layer, trained in zip(network.model.layers, trains, strict=True):
        layer.trainable = trained
    return chosen


def moving_statistics(model: tf.keras.Model) -> list[tf.Variable]:
    """The BatchNorm means and variances that training updates: those of layers that are not frozen."""
    return [variable for layer in model.layers if layer.trainable for variable in layer.non_trainable_variables]
