"""FCN-8s (Long, Shelhamer and Darrell 2015): class scores at strides 32, 16 and 8, summed from coarse to fine.

As in the paper's FCN-GoogLeNet, the last feature map is scored directly. Its FCN-VGG16 has VGG's classifier in between,
as convolutions fc6 (7x7, 512 to 4096 channels) and fc7 (1x1, 4096 to 4096): 119.5 M of its 134 M parameters, for which
the weight files of the encoders have no values.
"""

from __future__ import annotations

import tensorflow as tf

from cloudseg.nets import encoders

POOLINGS = {"vgg16": ("block4_pool", "block3_pool"), "vgg19": ("block4_pool", "block3_pool")}
"""Layers scored at strides 16 and 8, for encoders with the paper's pool4 and pool3. Others: their last feature maps at
these strides."""


def build(encoder: str, size: encoders.Size, classes: int, batchnorm: bool) -> tf.keras.Model:
    """Build the model: float32 (n, H, W, 3) -> logits float32 (n, H, W, classes). It has no BatchNorm of its own.

    The two layers that double the size begin as bilinear interpolation, and the last upsampling, by 8, is fixed, as in
    the paper (section 4). Score layers begin with random weights. The paper's begin with zeros, which give the
    encoder no gradient in the first step; a random encoder then learns more slowly.
    """
    layers = tf.keras.layers
    model = encoders.build(encoder, size)
    maps = encoders.features(model, encoder)[:2]
    if encoder in POOLINGS:
        maps = [model.get_layer(name).output for name in POOLINGS[encoder]]
    x = _score(model.output, classes, 32)
    for stride, features in zip((16, 8), maps, strict=True):
        x = layers.Conv2DTranspose(
            classes, 4, strides=2, padding="same", use_bias=False, kernel_initializer=_bilinear, name=f"fcn_up{stride}"
        )(x)
        x = layers.Add(name=f"fcn_add{stride}")([x, _score(features, classes, stride)])
    logits = layers.UpSampling2D(8, interpolation="bilinear", name="logits", dtype="float32")(x)
    return tf.keras.Model(model.input, logits, name=f"fcn-{encoder}")


def _score(features: tf.Tensor, classes: int, stride: int) -> tf.Tensor:
    return tf.keras.layers.Conv2D(classes, 1, name=f"fcn_score{stride}")(features)


def _bilinear(shape: tuple[int, int, int, int], dtype: tf.DType | None = None) -> tf.Tensor:
    """Kernel (4, 4, C, C) with which a transposed convolution of stride 2 interpolates each channel bilinearly."""
    line = tf.constant([0.25, 0.75, 0.75, 0.25], dtype)
    return tf.einsum("i,j,kl->ijkl", line, line, tf.eye(*shape[2:], dtype=dtype))
