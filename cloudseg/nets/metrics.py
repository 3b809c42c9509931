"""Sums over pixels of predictions and truth, on the device; `cloudseg.nets.scores` makes scores of them.

Two kinds, not to be confused. `pixel_counts` are those of each image and class at the size at which the competition
scores: its Dice is the mean over these pairs. `pooled_sums` put all pixels of a batch together, at the size of
training: quick to have and what training curves show, but a score of pixels, in which an image with none of a class has
no say.
"""

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


def pooled_sums(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Sums over all valid pixels of a batch, from what losses take (see `cloudseg.nets.losses`).

    Returns float32 (C, 2, 3): first with probabilities, then with predictions above 0.5, each the sum of prediction
    times truth, of the prediction, of the truth. Sums over batches and ranks are those of everything.
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
