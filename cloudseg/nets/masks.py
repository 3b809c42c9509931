"""Unpacks the mask bytes of the shards for losses and metrics."""

from __future__ import annotations

import tensorflow as tf

from cloudseg.data.labels import CLASSES, NO_DATA


def unpack(mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Packed masks, uint8 (n, H, W) -> targets float32 (n, H, W, classes) and valid float32 (n, H, W, 1), 0 or 1."""
    bits = tf.constant([1 << i for i in range(len(CLASSES))], tf.uint8)
    targets = tf.cast(tf.bitwise.bitwise_and(mask[..., None], bits) > 0, tf.float32)
    valid = tf.cast(tf.bitwise.bitwise_and(mask[..., None], tf.constant(NO_DATA, tf.uint8)) == 0, tf.float32)
    return targets, valid
