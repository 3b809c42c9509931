"""The order of training samples: a pure function of the seed, so nothing of it has to be saved."""

from __future__ import annotations

import numpy as np


def epoch_order(samples: np.ndarray, seed: int, epoch: int, global_batch: int) -> np.ndarray:
    """A permutation of `samples` in rows of one global batch, int (steps, global_batch).

    The last row is filled up from the start of the permutation, so every rank has equal steps and every sample
    is seen at least once an epoch.
    """
    permuted = np.random.default_rng((seed, epoch)).permutation(samples)
    steps = -(-len(permuted) // global_batch)
    return np.resize(permuted, (steps, global_batch))


def rank_share(order: np.ndarray, rank: int, size: int) -> np.ndarray:
    """The columns of one rank, int (steps, global_batch / size)."""
    batch = order.shape[1] // size
    return order[:, rank * batch : (rank + 1) * batch]


def sample_seed(seed: int, epoch: int, sample: int) -> int:
    """An independent 32-bit seed for one sample in one epoch."""
    return int(np.random.SeedSequence((seed, epoch, sample)).generate_state(1)[0])
