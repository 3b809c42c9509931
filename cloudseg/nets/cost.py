"""What the layers of a network cost, from their shapes."""

from __future__ import annotations

import math

import tensorflow as tf

from cloudseg.cost import Layer
from cloudseg.nets.models import Network


def layers(network: Network) -> list[Layer]:
    """In the order of the model; what trains is as `freeze` left it."""
    return [_layer(layer) for layer in network.model.layers if layer.weights]


def _layer(layer: tf.keras.layers.Layer) -> Layer:
    parameters = sum(math.prod(weight.shape) for weight in layer.weights)
    batchnorm = isinstance(layer, tf.keras.layers.BatchNormalization)
    statistics = (
        sum(math.prod(weight.shape) for weight in (layer.moving_mean, layer.moving_variance)) if batchnorm else 0
    )
    return Layer(_flops(layer), parameters - statistics, statistics, layer.trainable)


def _flops(layer: tf.keras.layers.Layer) -> float:
    """Every number of the kernel is used once a pixel: of the output, or of the input if the layer enlarges it."""
    kernel = getattr(layer, "depthwise_kernel", getattr(layer, "kernel", None))
    if kernel is None or len(kernel.shape) != 4:
        return 0.0
    enlarges = isinstance(layer, tf.keras.layers.Conv2DTranspose)
    height, width = (layer.input_shape if enlarges else layer.output_shape)[1:3]
    return 2.0 * math.prod(kernel.shape) * height * width
