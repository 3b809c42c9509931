"""Builds the encoders of segmentation_models, and finds in them the feature maps that decoders use."""

from __future__ import annotations

import contextlib

import tensorflow as tf

with contextlib.redirect_stdout(None):  # its import prints a line
    from segmentation_models.backbones.backbones_factory import Backbones

Size = tuple[int, int] | tuple[None, None]
"""Height and width of images; None for any."""


def build(encoder: str, size: Size) -> tf.keras.Model:
    """Build an encoder without a decoder, with random weights: float32 (n, H, W, 3) -> (n, H/32, W/32, channels).

    Keras's name counters begin anew, so layers have the same names in each model that begins with the encoder.
    """
    tf.keras.backend.reset_uids()
    return Backbones.get_backbone(
        encoder,
        input_shape=(*size, 3),
        weights=None,
        include_top=False,
        backend=tf.keras.backend,
        layers=tf.keras.layers,
        models=tf.keras.models,
        utils=tf.keras.utils,
    )


def features(model: tf.keras.Model, encoder: str) -> list[tf.Tensor]:
    """The last feature maps of `model`, a whole encoder, at strides 16, 8, 4 and 2, and for VGG at 1.

    They are those that segmentation_models' U-Net concatenates.
    """
    layers = Backbones.get_feature_layers(encoder)
    return [model.get_layer(**{"name" if isinstance(key, str) else "index": key}).output for key in layers]
