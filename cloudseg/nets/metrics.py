"""Pixel counts of predictions against truth, on the device; what scores are made of (`cloudseg.nets.scores`)."""

from __future__ import annotations

import tensorflow as tf

from cloudseg.nets.masks import unpack


def pixel_counts(logits: tf.Tensor, truth: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
    """Count pixels at the size at which the competition scores.

    logits float32 (n, H, W, C); truth uint8 bits (n, h, w); thresholds float32 (T,) on the probability.
    Probabilities are resized bilinearly to (h, w), then compared; pixels without data count nowhere.
    Returns int32 (n, C, T, 3): pixels in prediction and truth, in the prediction, in the truth.
    """
    targets, valid = unpack(truth)
    probabilities = tf.image.resize(tf.sigmoid(logits), tf.shape(truth)[1:3]) * valid
    targets = targets > 0
    counts = []
    for threshold in tf.unstack(thresholds):
        predicted = probabilities > threshold
        both = tf.logical_and(predicted, targets)
        counts.append(
            tf.stack(
                [tf.reduce_sum(tf.cast(pixels, tf.int32), axis=(1, 2)) for pixels in (both, predicted, targets)],
                axis=-1,
            )
        )
    return tf.stack(counts, axis=2)
