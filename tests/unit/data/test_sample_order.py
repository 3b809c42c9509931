from __future__ import annotations

import numpy as np
import pytest

from cloudseg.data.sample_order import epoch_order, rank_share, sample_seed

SAMPLES = np.arange(100, 123)


def test_every_sample_is_seen_every_epoch():
    assert set(epoch_order(SAMPLES, seed=0, epoch=0, global_batch=4).ravel()) == set(SAMPLES)


def test_epochs_and_seeds_differ_and_repeat():
    orders = [epoch_order(SAMPLES, seed, epoch, 4).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert orders[0] == orders[3]
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_together_see_the_same_global_batches(ranks):
    order = epoch_order(SAMPLES, seed=0, epoch=3, global_batch=4)
    shares = [rank_share(order, rank, ranks) for rank in range(ranks)]
    assert {len(share) for share in shares} == {6}
    assert np.array_equal(np.concatenate(shares, axis=1), order)


def test_fewer_samples_than_one_global_batch_still_make_a_step():
    assert epoch_order(SAMPLES[:3], seed=0, epoch=0, global_batch=8).shape == (1, 8)


def test_sample_seeds_differ_by_sample_epoch_and_seed():
    seeds = {sample_seed(s, e, i) for s in range(3) for e in range(3) for i in range(50)}
    assert len(seeds) == 450
