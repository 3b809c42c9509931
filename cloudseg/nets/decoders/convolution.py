"""A convolution with BatchNorm and ReLU, which decoders have in common."""

from __future__ import annotations

import tensorflow as tf


def convolution(
    x: tf.Tensor, channels: int, size: int, name: str, batchnorm: bool, dilation: int = 1, separable: bool = False
) -> tf.Tensor:
    """Convolve `x` (n, h, w, c) with kernels of `size` x `size` -> (n, h, w, channels), then BatchNorm and ReLU.

    Without `batchnorm` the convolution has a bias. `separable`: a depthwise convolution, then one of 1x1, each with
    BatchNorm and ReLU.
    """
    layers = tf.keras.layers
    if separable:
        # Not SeparableConv2D: two layers have their own rows in the table of costs.
        x = layers.DepthwiseConv2D(
            size, padding="same", dilation_rate=dilation, use_bias=not batchnorm, depthwise_initializer="he_uniform",
            name=f"{name}_depthwise",
        )(x)  # fmt: skip
        x = normalise(x, f"{name}_depthwise", batchnorm)
        size = dilation = 1
    x = layers.Conv2D(
        channels, size, padding="same", dilation_rate=dilation, use_bias=not batchnorm, kernel_initializer="he_uniform",
        name=f"{name}_conv",
    )(x)  # fmt: skip
    return normalise(x, name, batchnorm)


def normalise(x: tf.Tensor, name: str, batchnorm: bool) -> tf.Tensor:
    """ReLU of `x`, after BatchNorm with `batchnorm`. Same shape."""
    if batchnorm:
        x = tf.keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return tf.keras.layers.ReLU(name=f"{name}_relu")(x)
