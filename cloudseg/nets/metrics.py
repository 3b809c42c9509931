"""Pixel sums of predictions and ground truth, computed on the device; `cloudseg.nets.scores` turns them into scores.

There are two kinds. `pixel_counts` are per image and class at the size of the competition's masks, whose Dice is the
mean over pairs of image and class. `pooled_sums` are over all pixels of a batch at the training size: they are cheap,
and training curves show them, but an image without a class does not contribute to the score of that class.
"""

from __future__ import annotations

import tensorflow as tf

from cloudseg.nets.masks import unpack


def pixel_counts(logits: tf.Tensor, truth: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
    """Count pixels per image, class and threshold at the size of the competition's masks.

    logits float32 (n, H, W, C); truth packed masks uint8 (n, h, w); thresholds float32 (T,) on the probability.
    Probabilities are resized bilinearly to (h, w), then compared; no-data pixels are ignored.
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
