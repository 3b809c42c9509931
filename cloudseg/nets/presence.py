"""Presence head: says for each class whether it is in the image, from the encoder's last feature map.

Huang et al. 2020 (UNet 3+, section 3.3) classify images from the deepest feature map too, with one unit more.
"""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf


def add_head(model: tf.keras.Model, encoder: Collection[str], classes: int) -> tf.keras.Model:
    """`model` with a second output, float32 (n, classes): logits of a dense layer on the mean of the last feature map.

    `encoder` names the encoder's layers. The layers of the head are not among them, so it trains as the decoder does.
    """
    layers = tf.keras.layers
    features = [layer for layer in model.layers if layer.name in encoder][-1].output
    pooled = layers.GlobalAveragePooling2D(name="presence_pool", dtype="float32")(features)
    logits = layers.Dense(classes, name="presence", dtype="float32")(pooled)
    return tf.keras.Model(model.inputs, [model.output, logits], name=model.name)


def is_present(targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Whether a class has a valid true pixel in an image: float32 0 or 1 (n, C); arguments as of `losses.Loss`."""
    return tf.reduce_max(targets * valid, axis=(1, 2))


def add_loss(
    loss: tf.Tensor, weight: float, logits: tf.Tensor | None, targets: tf.Tensor, valid: tf.Tensor
) -> tf.Tensor:
    """`loss` plus `weight` times the loss of the presence head; `loss` itself if `logits` is None.

    The loss of the head is the binary cross-entropy of `logits`, float32 (n, C), and `is_present`, mean over classes
    and images.
    """
    if logits is None:
        return loss
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=is_present(targets, valid), logits=logits)
    return loss + weight * tf.reduce_mean(entropy)
