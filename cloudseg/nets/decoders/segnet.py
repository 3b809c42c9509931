"""SegNet (Badrinarayanan, Kendall and Cipolla 2017): a mirrored VGG-16 that unpools by the encoder's pooling indices.

Differences from the paper: the encoder is any, and VGG-16 has no BatchNorm. Pooling indices are those of a 2x2 max
pooling of the encoder's last feature map at each stride, which VGG itself pools there; other encoders shrink their maps
by convolutions. Where an encoder has no feature map at stride 1 (all but VGG), the last step up is bilinear.
"""

from __future__ import annotations

import tensorflow as tf

from cloudseg.nets import encoders
from cloudseg.nets.decoders.convolution import convolution

CONVOLUTIONS = (3, 3, 3, 2, 2)
"""Number of 3x3 convolutions at strides 16, 8, 4, 2 and 1, as VGG-16 has; the last one gives the logits."""
FULL_SIZE_CHANNELS = 64
"""Channels at stride 1, as VGG-16 has."""


class Unpooling(tf.keras.layers.Layer):
    """Doubles height and width: puts each number where a map of the encoder has the maximum of its 2x2 window."""

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """`inputs`: values (n, h, w, c), and the encoder's map (n, 2h, 2w, c) -> (n, 2h, 2w, c), zero elsewhere.

        Of equal maxima the first counts, by rows. The result is that of `tf.nn.max_pool_with_argmax` and a scatter to
        its indices; without a scatter, no sum of its gradient depends on timing.
        """
        values, features = inputs
        height, width, channels = tf.shape(values)[1], tf.shape(values)[2], values.shape[-1]
        windows = tf.reshape(tf.nn.space_to_depth(features, 2), (-1, height, width, 4, channels))
        largest = tf.one_hot(tf.argmax(windows, axis=3), 4, axis=3, dtype=values.dtype)
        spread = tf.reshape(largest * values[:, :, :, None], (-1, height, width, 4 * channels))
        return tf.nn.depth_to_space(spread, 2)


def build(encoder: str, size: encoders.Size, classes: int, batchnorm: bool) -> tf.keras.Model:
    """Build the model: float32 (n, H, W, 3) -> logits float32 (n, H, W, classes). `batchnorm` is for the decoder."""
    layers = tf.keras.layers
    model = encoders.build(encoder, size)
    maps = encoders.features(model, encoder)
    widths = [each.shape[-1] for each in maps]
    widths += [FULL_SIZE_CHANNELS] * (len(CONVOLUTIONS) - len(widths))
    x = model.output
    if x.shape[-1] != widths[0]:
        x = convolution(x, widths[0], 1, "segnet_centre", batchnorm)
    for level, count in enumerate(CONVOLUTIONS):
        name = f"segnet_stride{16 >> level}"
        if level < len(maps):
            x = Unpooling(name=f"{name}_unpooling")([x, maps[level]])
        else:
            x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_upsampling")(x)
        for i in range(1, count):
            x = convolution(x, widths[level], 3, f"{name}_{i}", batchnorm)
        if level + 1 < len(CONVOLUTIONS):  # unpooling needs as many channels as the encoder's map has
            x = convolution(x, widths[level + 1], 3, f"{name}_{count}", batchnorm)
    logits = layers.Conv2D(classes, 3, padding="same", name="logits", dtype="float32")(x)
    return tf.keras.Model(model.input, logits, name=f"segnet-{encoder}")
