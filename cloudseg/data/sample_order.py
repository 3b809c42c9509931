"""Order of the training samples: a pure function of the seed, so checkpoints need no state of it."""

from __future__ import annotations

import numpy as np


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
