"""Makes one batch of training samples in given memory, with the same result in every thread and process."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cloudseg.data import cutmix
from cloudseg.data.sample_order import sample_seed
from cloudseg.data.shards import Manifest, Shards

PRESETS = ("none", "flips", "standard", "strong")
"""Strengths of augmentation: `flips` mirrors only; `standard` also rotates, crops and sometimes distorts; `strong`
distorts more often and changes brightness and contrast. Defined here, as albumentations takes a second to import."""
ALSO = ("coarse_dropout", "channel_shuffle", "grey", "cutmix")
"""Transforms that can be added to a preset, in the order of their application after it; cutmix comes before it."""


class Augment(Protocol):
    """Augments stored samples. Equal seeds give equal results."""

    size: tuple[int, int]
    """Height and width of the results."""
    partners: np.ndarray | None
    """Numbers of the samples whose rectangles cutmix pastes, int (n,); None without cutmix."""

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Image, uint8 (H, W, 3), and packed mask, uint8 (H, W) -> both augmented, of `size`."""


def sample_size(manifest: Manifest, augment: Augment | None) -> tuple[int, int]:
    """Height and width of the training samples: those of stored samples unless `augment` changes them."""
    return augment.size if augment else manifest.size


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

    `images` and `masks` have the size `sample_size`. Raises DataError, naming sample and shard, if the checksum of a
    sample, or of its partner in cutmix, is wrong.
    """
    for row, sample in enumerate(samples.tolist()):
        if augment is None:
            # The copy is checked, as it is in the processor's cache.
            images[row], masks[row] = shards.image(sample), shards.mask(sample)
            shards.check(sample, images[row], masks[row])
        else:
            image, mask = _checked(shards, sample)
            if augment.partners is not None:
                image, mask = _mixed(shards, image, mask, augment.partners, seed, epoch, sample)
            images[row], masks[row] = augment(image, mask, sample_seed(seed, epoch, sample))


def _checked(shards: Shards, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Stored image and mask of `sample`, as views of the file. Raises DataError if their checksum is wrong."""
    image, mask = shards.image(sample), shards.mask(sample)
    shards.check(sample, image, mask)
    return image, mask


def _mixed(
    shards: Shards, image: np.ndarray, mask: np.ndarray, partners: np.ndarray, seed: int, epoch: int, sample: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask of `sample` with the rectangle that `cutmix.draw` draws, if it draws one."""
    patch = cutmix.draw(partners, shards.manifest.size, seed, epoch, sample)
    if patch is None:
        return image, mask
    other_image, other_mask = _checked(shards, patch.partner)
    return cutmix.paste(image, other_image, patch), cutmix.paste(mask, other_mask, patch)
