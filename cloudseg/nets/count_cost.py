"""Counts what the layers of a network cost; `python -m cloudseg.nets.count_cost` writes the table of all networks."""

from __future__ import annotations

import math
import sys

import tensorflow as tf

from cloudseg.core import atomic
from cloudseg.nets import cost_table, models, names
from cloudseg.nets.cost_table import NetworkRows, Row
from cloudseg.nets.layer_cost import Layer
from cloudseg.nets.models import Network

MEASURED_AT = (960, 1248)
"""Height and width at which the table is made: whatever is halved five times is wider than what is pooled to a fixed
size, at most 6x6, and its height and width differ."""


def layers(network: Network) -> list[Layer]:
    """In the order of the model; what trains is as `freeze` left it."""
    return [_layer(layer) for layer in network.model.layers if layer.weights]


def rows(name: str, batchnorm: bool = True) -> NetworkRows:
    """The network's rows of the table, from the network itself, which is built without memory for its weights."""
    with tf.Graph().as_default():
        tf.random.set_seed(0)  # this graph's; dropout asks for one where operations are to be deterministic
        network = models.build(name, MEASURED_AT, pretrained=False, batchnorm=batchnorm)
    weighted = [layer for layer in network.model.layers if layer.weights]
    if tuple(layer.name for layer in weighted[: len(network.encoder)]) != network.encoder:
        raise ValueError(f"{name}: layers of the decoder come before some of the encoder's")
    found = tuple(map(_row, weighted))
    return NetworkRows(found[: len(network.encoder)], found[len(network.encoder) :])


def _layer(layer: tf.keras.layers.Layer) -> Layer:
    parameters = sum(math.prod(weight.shape) for weight in layer.weights)
    batchnorm = isinstance(layer, tf.keras.layers.BatchNormalization)
    statistics = (
        sum(math.prod(weight.shape) for weight in (layer.moving_mean, layer.moving_variance)) if batchnorm else 0
    )
    return Layer(_flops(layer), parameters - statistics, statistics, layer.trainable)


def _row(layer: tf.keras.layers.Layer) -> Row:
    cost, (height, width) = _layer(layer), MEASURED_AT
    if not cost.flops:
        return Row(cost.parameters, cost.statistics, 0.0, 0.0)
    seen = _positions(layer)
    if height * seen[1] == width * seen[0]:  # a share of the image
        return Row(cost.parameters, cost.statistics, cost.flops / (height * width), 0.0)
    return Row(cost.parameters, cost.statistics, 0.0, cost.flops)


def _flops(layer: tf.keras.layers.Layer) -> float:
    """Every number of the kernel is used once a pixel: of the output, or of the input if the layer enlarges it."""
    kernel = getattr(layer, "depthwise_kernel", getattr(layer, "kernel", None))
    if kernel is None or len(kernel.shape) != 4:
        return 0.0
    height, width = _positions(layer)
    return 2.0 * math.prod(kernel.shape) * height * width


def _positions(layer: tf.keras.layers.Layer) -> tuple[int, int]:
    """Height and width of what a convolution puts its kernel on."""
    enlarges = isinstance(layer, tf.keras.layers.Conv2DTranspose)
    return (layer.input_shape if enlarges else layer.output_shape)[1:3]


def main() -> None:
    """Write the table: of all networks, a quarter of an hour; or anew of those that are named, beside what it has."""
    every = [*names.OWN, *(f"{decoder}-{encoder}" for encoder in names.ENCODERS for decoder in names.DECODERS)]
    chosen = sys.argv[1:] or every
    found = {}
    for name in every:
        made = name in chosen
        if made:
            print(name, flush=True)
        found[name] = (
            (rows(name), rows(name, batchnorm=False))
            if made
            else (cost_table.network(name), cost_table.network(name, batchnorm=False))
        )
    atomic.write(cost_table.FILE, cost_table.text(found).encode())


if __name__ == "__main__":
    main()
