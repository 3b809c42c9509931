"""Losses on logits. Pixels without data (black bands, borders that augmentation made) count nowhere.

Each is a mean over images of a mean within the image, so the mean over ranks of equal batches is the loss of
the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(logits float32 (n,H,W,C), targets float32 0 or 1 (n,H,W,C), valid float32 0 or 1 (n,H,W,1)) -> scalar."""


def bce(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy, -t log p - (1-t) log(1-p) with p = sigmoid(logit): mean over valid pixels and classes."""
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits) * valid
    classes = tf.cast(tf.shape(logits)[-1], tf.float32)
    pixels = tf.reduce_sum(valid, axis=(1, 2, 3)) * classes
    return tf.reduce_mean(tf.math.divide_no_nan(tf.reduce_sum(loss, axis=(1, 2, 3)), pixels))


def dice(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor, smooth: float = 1.0) -> tf.Tensor:
    """1 - (2 sum(pt) + s) / (sum(p) + sum(t) + s) for each image and class, then the mean.

    The soft Dice of Milletari et al. 2016 with plain sums in the denominator; `smooth` is in pixels and makes
    an empty prediction of an empty truth cost 0.
    """
    probabilities = tf.sigmoid(logits) * valid
    targets = targets * valid
    both = tf.reduce_sum(probabilities * targets, axis=(1, 2))
    total = tf.reduce_sum(probabilities, axis=(1, 2)) + tf.reduce_sum(targets, axis=(1, 2))
    return tf.reduce_mean(1.0 - (2.0 * both + smooth) / (total + smooth))


def bce_dice(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """The sum of both: cross-entropy for steady gradients, Dice for what is scored."""
    return bce(logits, targets, valid) + dice(logits, targets, valid)


LOSSES: dict[str, Loss] = {"bce": bce, "dice": dice, "bce_dice": bce_dice}
