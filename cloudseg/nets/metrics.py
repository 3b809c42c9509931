"""Pixel sums of predictions and ground truth over a batch, computed on the device at the training size.

They are cheap, and training curves show them. But an image without a class does not contribute to the score of that
class, unlike in the competition's Dice (`scores.pixel_counts`).
"""

from __future__ import annotations

import tensorflow as tf


def pooled_sums(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Sum over all valid pixels of a batch; the arguments are those of `cloudseg.nets.losses.Loss`.

    Returns float32 (C, 2, 3): on axis 1 with probabilities, then with masks at 0.5; on axis 2 the sums of prediction
    times truth, of the prediction, of the truth. The results of batches and ranks can be added.
    """
    probabilities, targets = tf.sigmoid(logits) * valid, targets * valid
    predicted = tf.cast(logits > 0, tf.float32) * valid
    return tf.stack(
        [
            tf.stack([tf.reduce_sum(part, axis=(0, 1, 2)) for part in (each * targets, each, targets)], axis=-1)
            for each in (probabilities, predicted)
        ],
        axis=1,
    )
