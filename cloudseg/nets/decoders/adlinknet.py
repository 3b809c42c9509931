"""AD-LinkNet (Wu et al. 2019, IEEE Access 7): D-LinkNet with channel attention.

D-LinkNet (Zhou et al. 2018, CVPR workshops) is LinkNet with dilated convolutions in its centre.

Attention is squeeze-and-excitation (Hu et al. 2018) of the centre and of each feature map that the encoder adds to the
decoder. Where it applies, and its ratio of 16, are our reading, not checked against code of the authors.
"""

from __future__ import annotations

import tensorflow as tf

from cloudseg.nets import encoders
from cloudseg.nets.decoders.convolution import convolution, normalise

DILATIONS = (1, 2, 4, 8)
CENTRE_CHANNELS = 512
"""Most channels of the centre. Wider encoders are reduced to it; the paper's centre on ResNet-50 has 2048, and 151 M
parameters."""
RATIO = 16
"""Channels over hidden channels of the attention."""
LAST_CHANNELS = 32
"""Channels at stride 1."""


def build(encoder: str, size: encoders.Size, classes: int, batchnorm: bool) -> tf.keras.Model:
    """Build the model: float32 (n, H, W, 3) -> logits float32 (n, H, W, classes).

    `batchnorm` is for the decoder's blocks; the centre and the last layers have none, as in D-LinkNet.
    """
    layers = tf.keras.layers
    model = encoders.build(encoder, size)
    skips = encoders.features(model, encoder)[:3]
    x = model.output
    if x.shape[-1] > CENTRE_CHANNELS:
        x = convolution(x, CENTRE_CHANNELS, 1, "centre_reduce", batchnorm)
    x = _attention(_centre(x), "centre_attention")
    for stride, skip in zip((16, 8, 4), skips, strict=True):
        x = _up(x, skip.shape[-1], f"decoder_stride{stride}", batchnorm)
        x = layers.Add(name=f"decoder_stride{stride}_add")([x, _attention(skip, f"skip_stride{stride}_attention")])
    x = _up(x, x.shape[-1], "decoder_stride2", batchnorm)
    x = layers.Conv2DTranspose(
        LAST_CHANNELS, 4, strides=2, padding="same", activation="relu", name="decoder_stride1_transpose"
    )(x)
    x = convolution(x, LAST_CHANNELS, 3, "decoder_stride1", batchnorm=False)
    logits = layers.Conv2D(classes, 3, padding="same", name="logits", dtype="float32")(x)
    return tf.keras.Model(model.input, logits, name=f"adlinknet-{encoder}")


def _centre(x: tf.Tensor) -> tf.Tensor:
    """Sum of `x` and the outputs of all convolutions of a cascade, whose dilation grows. Same shape."""
    outputs = [x]
    for dilation in DILATIONS:
        outputs.append(
            convolution(outputs[-1], x.shape[-1], 3, f"centre_dilation{dilation}", batchnorm=False, dilation=dilation)
        )
    return tf.keras.layers.Add(name="centre_add")(outputs)


def _attention(x: tf.Tensor, name: str) -> tf.Tensor:
    """Multiply each channel of `x` by a number between 0 and 1, which follows from the means of all. Same shape."""
    layers, channels = tf.keras.layers, x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool", dtype="float32")(x)
    weights = layers.Conv2D(max(1, channels // RATIO), 1, activation="relu", name=f"{name}_squeeze")(weights)
    weights = layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_excite")(weights)
    return layers.Multiply(name=name)([x, weights])


def _up(x: tf.Tensor, channels: int, name: str, batchnorm: bool) -> tf.Tensor:
    """LinkNet's decoder block (Chaurasia and Culurciello 2017, figure 3): (n, h, w, c) -> (n, 2h, 2w, channels)."""
    narrow = x.shape[-1] // 4
    x = convolution(x, narrow, 1, f"{name}_a", batchnorm)
    x = tf.keras.layers.Conv2DTranspose(
        narrow, 3, strides=2, padding="same", use_bias=not batchnorm, kernel_initializer="he_uniform",
        name=f"{name}_transpose",
    )(x)  # fmt: skip
    return convolution(normalise(x, f"{name}_b", batchnorm), channels, 1, f"{name}_c", batchnorm)
