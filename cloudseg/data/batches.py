"""Makes one batch of training samples in given memory, with the same result in every thread and process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cloudseg.data.sample_order import sample_seed
from cloudseg.data.shards import Shards

Augment = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(image uint8 (H, W, 3), mask uint8 (H, W), seed) -> augmented image and mask of the same shapes."""

PRESETS = ("none", "flips", "standard", "strong")
"""Strengths of augmentation: `flips` mirrors only; `standard` also rotates, crops and sometimes distorts; `strong`
distorts more often and changes brightness and contrast. Defined here, as albumentations takes a second to import."""


def batch_bytes(batch: int, size: tuple[int, int]) -> int:
    """Bytes of a batch of `batch` images and masks of `size` (height, width)."""
    return batch * size[0] * size[1] * 4


def batch_arrays(memory: np.ndarray, batch: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (b, H, W, 3), and masks, uint8 (b, H, W), of a batch as views of `memory`, uint8 (batch_bytes,)."""
    images = batch * size[0] * size[1] * 3
    return memory[:images].reshape(batch, *size, 3), memory[images:].reshape(batch, *size)


def fill(
    images: np.ndarray,
    masks: np.ndarray,
    shards: Shards,
    samples: np.ndarray,
    augment: Augment | None,
    seed: int,
    epoch: int,
) -> None:
    """Write `samples`, int (b,), into `images` and `masks`, augmented with a seed derived from (seed, epoch, sample).

    Raises DataError, naming sample and shard, if a sample's checksum is wrong.
    """
    for row, sample in enumerate(samples.tolist()):
        image, mask = shards.image(sample), shards.mask(sample)
        if augment is None:
            # The copy is checked, as it is in the processor's cache.
            images[row], masks[row] = image, mask
            shards.check(sample, images[row], masks[row])
        else:
            shards.check(sample, image, mask)
            images[row], masks[row] = augment(image, mask, sample_seed(seed, epoch, sample))
