"""DeepLabv3+ (Chen et al. 2018, ECCV): atrous spatial pyramid at stride 16, refined by a feature map at stride 4.

Difference from the paper: there the encoder's last stage stays at stride 16, with dilated convolutions. The encoders of
segmentation_models have stride 32, and their layers differ too much to be dilated by one rule. So the pyramid is on the
last feature map at stride 16, and the rest of the encoder is left out: the last pooling of VGG, the last stage of
others.
"""

from __future__ import annotations

import tensorflow as tf

from cloudseg.nets import encoders
from cloudseg.nets.decoders.convolution import convolution

RATES = (6, 12, 18)
"""Dilation of the pyramid's 3x3 convolutions at stride 16 (section 3.1)."""
CHANNELS = 256
FINE_CHANNELS = 48
"""Channels to which the map at stride 4 is reduced (table 1)."""


class Everywhere(tf.keras.layers.Layer):
    """Repeats the vector of an image at all positions of a map."""

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """`inputs`: vectors (n, 1, 1, c) and a map (n, h, w, any) -> (n, h, w, c)."""
        vectors, features = inputs
        shape = tf.concat([tf.shape(features)[:3], tf.shape(vectors)[3:]], axis=0)
        return tf.ensure_shape(tf.broadcast_to(vectors, shape), (*features.shape[:3], vectors.shape[3]))


def build(encoder: str, size: encoders.Size, classes: int, batchnorm: bool) -> tf.keras.Model:
    """Build the model: float32 (n, H, W, 3) -> logits float32 (n, H, W, classes). `batchnorm` is for the decoder.

    With BatchNorm, the pyramid's image pooling normalises over the images of a batch alone: choose a batch of several
    images per rank, or `batchnorm=false`.
    """
    layers = tf.keras.layers
    model = encoders.build(encoder, size)
    coarse, _, fine, *_ = encoders.features(model, encoder)
    x = _pyramid(coarse, batchnorm)
    x = layers.UpSampling2D(4, interpolation="bilinear", name="decoder_up4")(x)
    fine = convolution(fine, FINE_CHANNELS, 1, "decoder_fine", batchnorm)
    x = layers.Concatenate(name="decoder_concat")([x, fine])
    for i in (1, 2):
        x = convolution(x, CHANNELS, 3, f"decoder_{i}", batchnorm, separable=True)
    x = layers.Conv2D(classes, 1, name="decoder_score", dtype="float32")(x)
    logits = layers.UpSampling2D(4, interpolation="bilinear", name="logits", dtype="float32")(x)
    return tf.keras.Model(model.input, logits, name=f"deeplabv3plus-{encoder}")


def _pyramid(x: tf.Tensor, batchnorm: bool) -> tf.Tensor:
    """Atrous spatial pyramid pooling of `x` (n, h, w, c) -> (n, h, w, CHANNELS)."""
    layers = tf.keras.layers
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool", dtype="float32")(x)
    pooled = convolution(pooled, CHANNELS, 1, "aspp_image", batchnorm)
    branches = [
        convolution(x, CHANNELS, 1, "aspp_1x1", batchnorm),
        *(convolution(x, CHANNELS, 3, f"aspp_rate{rate}", batchnorm, rate, separable=True) for rate in RATES),
        Everywhere(name="aspp_everywhere")([pooled, x]),
    ]
    return convolution(layers.Concatenate(name="aspp_concat")(branches), CHANNELS, 1, "aspp_out", batchnorm)
