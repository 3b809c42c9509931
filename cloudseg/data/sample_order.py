"""Choice and order of the training samples: pure functions of the seed, so checkpoints need no state of them."""

from __future__ import annotations

import numpy as np

from cloudseg.core.errors import UsageError
from cloudseg.data.shards import Manifest

SUBSET, CUTMIX = 1, 2
"""Spawn keys of the random streams that choose a subset, and rectangles for CutMix. The streams that order and augment
samples have no key."""


def training_samples(manifest: Manifest, fold: int, count: int, seed: int) -> np.ndarray:
    """Numbers of the samples that train: int64 (count,), ascending; all samples outside `fold` for `count` 0.

    They are the first `count` of a permutation that `seed` decides, so a larger subset contains each smaller one.
    Raises UsageError for a fold that does not exist, or if it has fewer than `count` training samples.
    """
    samples = manifest.indices(fold, training=True)
    if count > len(samples):
        raise UsageError(
            f"train_images: fold {fold} of {manifest.folder} has {len(samples)} images to train, not {count}; type at "
            f"most: --set train_images={len(samples)}, or 0 for all"
        )
    if not count:
        return samples
    stream = np.random.SeedSequence(seed, spawn_key=(SUBSET,))
    return np.sort(np.random.default_rng(stream).permutation(samples)[:count])


def epoch_order(samples: np.ndarray, seed: int, epoch: int, global_batch: int) -> np.ndarray:
    """Permute `samples` for an epoch, in rows of one global batch: int (steps, global_batch).

    The last row is filled up from the start of the permutation, so all ranks have the same number of steps, and every
    sample is used at least once per epoch.
    """
    permuted = np.random.default_rng((seed, epoch)).permutation(samples)
    steps = -(-len(permuted) // global_batch)
    return np.resize(permuted, (steps, global_batch))


def rank_share(order: np.ndarray, rank: int, size: int) -> np.ndarray:
    """The columns of `order` that rank `rank` of `size` processes: int (steps, global_batch / size)."""
    batch = order.shape[1] // size
    return order[:, rank * batch : (rank + 1) * batch]


def sample_seed(seed: int, epoch: int, sample: int) -> int:
    """An independent 32-bit seed for one sample in one epoch."""
    return int(np.random.SeedSequence((seed, epoch, sample)).generate_state(1)[0])
