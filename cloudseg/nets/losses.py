"""Losses on logits. No-data pixels (black bands, borders made by augmentation) are ignored.

Each loss is the mean over images of a mean within the image, so the mean over ranks with equal batches is the loss
of the whole batch. `by_name` puts a loss together from its settings: each of them takes losses and returns a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(logits float32 (n,H,W,C), targets float32 0 to 1 (n,H,W,C), valid float32 0 or 1 (n,H,W,1)) -> scalar. `valid`
may be of shape (n,H,W,C), with zeros for whole pairs of image and class, which then have loss 0."""

FOCUS = 2.0
"""Gamma of `focal`, the best value in Lin et al. 2017 (ICCV), table 1b."""
POSITIVE_SHARE = 0.25
"""Alpha of `focal`, the best value for this gamma in the same table."""


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


def focal(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Focal loss of Lin et al. 2017 (ICCV), equation 5: -a_t (1 - p_t)^gamma log(p_t), mean as in `bce`.

    p_t is p = sigmoid(logit) for a positive pixel and 1 - p for a negative one; a_t is `POSITIVE_SHARE` and 1 -
    `POSITIVE_SHARE`; gamma is `FOCUS`. The mean replaces the paper's division by the number of positives, which would
    depend on the batch.
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    missing = tf.sigmoid(logits * (1.0 - 2.0 * targets))  # 1 - p_t, without cancellation where p_t is near 1
    share = POSITIVE_SHARE * targets + (1.0 - POSITIVE_SHARE) * (1.0 - targets)
    return _mean(share * missing**FOCUS * entropy, valid)


def lovasz(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Lovász hinge of Berman et al. 2018 (CVPR), section 3.1, of each image and class, then the mean.

    With errors m = max(0, 1 - logit (2t - 1)), sorted in decreasing order, it is the sum of m_i (J_(i-1) - J_i). J_i is
    the Jaccard index of the truth and a prediction that is wrong on the first i pixels; the Jaccard index of two empty
    masks is 1.
    """
    errors = _pairs(tf.nn.relu(1.0 - logits * (2.0 * targets - 1.0)) * valid)
    # NaN has no place in an order, and the sort of a diverged training could crash before its loss is reported.
    errors = tf.where(tf.math.is_nan(errors), np.inf, errors)
    # `top_k` keeps the order of equal errors, so the gradient is the same in each run.
    errors, order = tf.math.top_k(errors, tf.shape(errors)[-1])
    truth = tf.gather(_pairs(targets * valid), order, batch_dims=2)
    area = tf.reduce_sum(truth, axis=-1, keepdims=True)
    both, either = area - tf.cumsum(truth, axis=-1), area + tf.cumsum(1.0 - truth, axis=-1)
    jaccard = tf.concat([tf.ones_like(area), both / either], axis=-1)
    return tf.reduce_mean(tf.reduce_sum(errors * (jaccard[..., :-1] - jaccard[..., 1:]), axis=-1))


def summed(one: Loss, other: Loss, weights: Sequence[float] = ()) -> Loss:
    """The sum of two losses, each times its weight; without weights the plain sum."""

    def loss(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        first, second = one(logits, targets, valid), other(logits, targets, valid)
        return weights[0] * first + weights[1] * second if weights else first + second

    return loss


def smoothed(loss: Loss, smoothing: float) -> Loss:
    """`loss` on smoothed targets, t (1 - s) + s / 2: label smoothing of Szegedy et al. 2016 (CVPR), section 7, with the
    two outcomes of each class and pixel as its labels. `smoothing` is s, 0 to below 1."""
    return lambda logits, targets, valid: loss(logits, targets * (1.0 - smoothing) + smoothing / 2.0, valid)


def of_labelled(loss: Loss) -> Loss:
    """`loss` in which an image and class without a true pixel has loss 0.

    The sum over pairs of image and class is still divided by the number of all pairs, so it is the mean over pairs with
    a label times their share. A division by the number of pairs with a label would depend on the batch, and its mean
    over ranks would not be the value of the whole batch; a division by those of the image would give a pair less weight
    if its image has more classes.
    """

    def labelled(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        return loss(logits, targets, valid * tf.reduce_max(targets * valid, axis=(1, 2), keepdims=True))

    return labelled


def weighted(loss: Callable[..., tf.Tensor], weights: tf.Tensor, *tensors: tf.Tensor | None) -> tf.Tensor:
    """Mean over images of weight x loss of the image alone. `loss` is a mean over images, of the `tensors`.

    `weights`: float32 (n,); `tensors`: (n, ...), or None, which each call of `loss` receives. The sum is divided by the
    number of images and not by the sum of their weights, so the mean over ranks is that of the whole batch.
    """
    images = weights.shape[0]
    parts = [[None] * images if each is None else tf.split(each, images) for each in tensors]
    return tf.reduce_mean(weights * tf.stack([loss(*image) for image in zip(*parts, strict=True)]))


def by_name(
    name: str,
    positive_weight: Sequence[float],
    weights: Sequence[float] = (),
    smoothing: float = 0.0,
    empty_pairs: str = "keep",
) -> Loss:
    """Return one of `names.LOSSES`.

    `positive_weight` is the one of weighted_bce; `weights` are those of the two parts of bce_dice or bce_lovasz;
    `smoothing` is for the cross-entropy (see `smoothed`); `empty_pairs` is one of `names.EMPTY_PAIRS`, "ignore" for
    `of_labelled`.
    """
    entropy = weighted_bce(positive_weight) if name == "weighted_bce" else bce
    if smoothing:
        entropy = smoothed(entropy, smoothing)
    losses: dict[str, Loss] = {
        "bce": entropy,
        "weighted_bce": entropy,
        "dice": dice,
        "focal": focal,
        "lovasz": lovasz,
        "bce_dice": summed(entropy, dice, weights),
        "bce_lovasz": summed(entropy, lovasz, weights),
    }
    return of_labelled(losses[name]) if empty_pairs == "ignore" else losses[name]


def _pairs(values: tf.Tensor) -> tf.Tensor:
    """(n, H, W, C) -> (n, C, H W)."""
    shape = tf.shape(values)
    return tf.transpose(tf.reshape(values, (shape[0], -1, shape[-1])), (0, 2, 1))


def _mean(loss: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Mean of a loss (n, H, W, C) over valid pixels and classes within each image, then over images.

    An image without valid pixels has loss 0. Pairs of image and class that `valid` (n, H, W, C) leaves out count with
    loss 0.
    """
    classes = tf.cast(tf.shape(loss)[-1], tf.float32)
    pixels = tf.reduce_sum(tf.reduce_max(valid, axis=3), axis=(1, 2)) * classes
    return tf.reduce_mean(tf.math.divide_no_nan(tf.reduce_sum(loss * valid, axis=(1, 2, 3)), pixels))
