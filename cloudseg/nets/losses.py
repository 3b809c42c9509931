"""Losses on logits. No-data pixels (black bands, borders made by augmentation) are ignored.

Each loss is the mean over images of a mean within the image, so the mean over ranks with equal batches is the loss
of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(logits float32 (n,H,W,C), targets float32 0 or 1 (n,H,W,C), valid float32 0 or 1 (n,H,W,1)) -> scalar."""


def bce(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy, -t log p - (1-t) log(1-p) with p = sigmoid(logit), mean over valid pixels and classes."""
    return _mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), valid)


def weighted_bce(positive_weight: Sequence[float]) -> Loss:
    """Binary cross-entropy with positives weighted by r, -r t log p - (1-t) log(1-p), mean as in `bce`.

    `positive_weight` is r, one value for all classes or one per class. The source work uses r = w1 / w0, with weights
    inverse to the classes' frequencies (see `balanced`).
    """
    weight = tf.constant(positive_weight, tf.float32)

    def loss(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        return _mean(tf.nn.weighted_cross_entropy_with_logits(targets, logits, weight), valid)

    return loss


def balanced(areas: Sequence[int], pixels: int) -> tuple[float, ...]:
    """Positive weight of each class: its negative pixels divided by its positive pixels.

    `areas` are the pixels of each class in all images, `pixels` all pixels with data. A class without pixels has 1.
    """
    return tuple((pixels - area) / area if area else 1.0 for area in areas)


def dice(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor, smooth: float = 1.0) -> tf.Tensor:
    """1 - (2 sum(pt) + s) / (sum(p) + sum(t) + s) for each image and class, then the mean.

    The soft Dice of Milletari et al. 2016 with plain sums in the denominator. `smooth` is in pixels; with it, an empty
    prediction of an empty ground truth has loss 0.
    """
    probabilities = tf.sigmoid(logits) * valid
    targets = targets * valid
    both = tf.reduce_sum(probabilities * targets, axis=(1, 2))
    total = tf.reduce_sum(probabilities, axis=(1, 2)) + tf.reduce_sum(targets, axis=(1, 2))
    return tf.reduce_mean(1.0 - (2.0 * both + smooth) / (total + smooth))


def bce_dice(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """The sum of `bce`, which has stable gradients, and `dice`, which is close to the score."""
    return bce(logits, targets, valid) + dice(logits, targets, valid)


def by_name(name: str, positive_weight: Sequence[float]) -> Loss:
    """Return one of `names.LOSSES`; `positive_weight` is the one of weighted_bce."""
    losses: dict[str, Loss] = {"bce": bce, "dice": dice, "bce_dice": bce_dice}
    return weighted_bce(positive_weight) if name == "weighted_bce" else losses[name]


def _mean(loss: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Mean of a loss (n, H, W, C) over valid pixels and classes within each image, then over images.

    An image without valid pixels has loss 0.
    """
    classes = tf.cast(tf.shape(loss)[-1], tf.float32)
    pixels = tf.reduce_sum(valid, axis=(1, 2, 3)) * classes
    return tf.reduce_mean(tf.math.divide_no_nan(tf.reduce_sum(loss * valid, axis=(1, 2, 3)), pixels))
