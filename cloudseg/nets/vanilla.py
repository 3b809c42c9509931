"""A plain U-Net of 2.9 M parameters: Ronneberger et al. 2015 with BatchNorm and fewer channels."""

from __future__ import annotations

import tensorflow as tf

WIDTHS = (24, 48, 96, 192, 192)
"""Channels at full size, half size, a quarter and so on. The last level is no wider than the one before: at twice the
width, its last convolution would hold half of the encoder's parameters, and `partial`, a fifth, would select no layer.
"""
ENCODER = frozenset(
    f"down{level}_{part}{i}" for level in range(len(WIDTHS)) for part in ("conv", "bn", "relu") for i in (1, 2)
)
"""Names of the layers of the contracting path."""


def build(size: tuple[int | None, int | None], classes: int, batchnorm: bool) -> tf.keras.Model:
    """Build the model: float32 (n, H, W, 3) -> logits (n, H, W, classes). `batchnorm` is for the expanding path."""
    layers = tf.keras.layers
    x = inputs = layers.Input((*size, 3), name="image")
    skips = []
    for level, width in enumerate(WIDTHS):
        if level:
            x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
        x = _two_convolutions(x, width, f"down{level}", True)
        skips.append(x)
    for level, width in reversed(list(enumerate(WIDTHS[:-1]))):
        x = layers.Conv2DTranspose(width, 2, strides=2, name=f"up{level}_transpose")(x)
        x = layers.Concatenate(name=f"up{level}_skip")([x, skips[level]])
        x = _two_convolutions(x, width, f"up{level}", batchnorm)
    return tf.keras.Model(inputs, layers.Conv2D(classes, 1, name="logits")(x), name="vanilla")


def _two_convolutions(x: tf.Tensor, width: int, name: str, batchnorm: bool) -> tf.Tensor:
    layers = tf.keras.layers
    for i in (1, 2):
        convolution = layers.Conv2D(
            width, 3, padding="same", use_bias=not batchnorm, kernel_initializer="he_normal", name=f"{name}_conv{i}"
        )
        x = convolution(x)
        if batchnorm:
            x = layers.BatchNormalization(name=f"{name}_bn{i}")(x)
        x = layers.ReLU(name=f"{name}_relu{i}")(x)
    return x
