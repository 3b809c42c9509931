"""Counts the cost of a network's layers; `python -m cloudseg.nets.count_cost` writes the table of networks."""

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
"""Height and width of the images for which the table is computed: after five halvings the feature map is larger than
any pooled map of fixed size (at most 6x6), and its height and width differ."""


def layers(network: Network) -> list[Layer]:
    """Cost of the network's layers with weights, in the order of the model. `freeze` has set which layers train."""
    return [_layer(layer) for layer in network.model.layers if layer.weights]


def rows(name: str, batchnorm: bool = True) -> NetworkRows:
    """Compute the network's rows of the table. The network is built without memory for its weights.

    Raises ValueError if the decoder's layers do not follow the encoder's.
    """
    with tf.Graph().as_default():
        tf.random.set_seed(0)  # the seed of this graph, which dropout needs if operations are deterministic
        network = models.build(name, MEASURED_AT, pretrained=False, batchnorm=batchnorm)
    weighted = [layer for layer in network.model.layers if layer.weights]
    if tuple(layer.name for layer in weighted[: len(network.encoder)]) != network.encoder:
        raise ValueError(f"{name}: layers of the decoder come before some of the encoder's")
    counted = tuple(map(_row, weighted))
    return NetworkRows(counted[: len(network.encoder)], counted[len(network.encoder) :])


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
    positions = _positions(layer)
    if height * positions[1] == width * positions[0]:  # the feature map scales with the image
        return Row(cost.parameters, cost.statistics, cost.flops / (height * width), 0.0)
    return Row(cost.parameters, cost.statistics, 0.0, cost.flops)


def _flops(layer: tf.keras.layers.Layer) -> float:
    """FLOPs of the forward pass of one image: each kernel weight does one multiply-add per position."""
    kernel = getattr(layer, "depthwise_kernel", getattr(layer, "kernel", None))
    if kernel is None or len(kernel.shape) != 4:
        return 0.0
    height, width = _positions(layer)
    return 2.0 * math.prod(kernel.shape) * height * width


def _positions(layer: tf.keras.layers.Layer) -> tuple[int, int]:
    """Height and width of the positions of a convolution's kernel: the output, or the input if it is transposed."""
    transposed = isinstance(layer, tf.keras.layers.Conv2DTranspose)
    return (layer.input_shape if transposed else layer.output_shape)[1:3]


def main() -> None:
    """Write the table. The rows of the networks named on the command line, or of all in the table (15 minutes), are
    computed; the others are kept."""
    every = [*names.OWN, *(f"{decoder}-{encoder}" for encoder in names.ENCODERS for decoder in names.DECODERS)]
    chosen = sys.argv[1:] or cost_table.known()
    table = {}
    for name in every:
        if name in chosen:
            print(name, flush=True)
            table[name] = (rows(name), rows(name, batchnorm=False))
        elif name in cost_table.known():
            table[name] = (cost_table.network(name), cost_table.network(name, batchnorm=False))
    atomic.write(cost_table.FILE, cost_table.text(table).encode())


if __name__ == "__main__":
    main()
