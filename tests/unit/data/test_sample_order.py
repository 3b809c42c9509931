from __future__ import annotations

import numpy as np
import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data.sample_order import epoch_order, rank_share, sample_seed, training_samples
from cloudseg.data.shards import Shards
from tests.random_shards import random_shards

SAMPLES = np.arange(100, 123)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Of 41 samples in two folds, 20 train for fold 0."""
    return random_shards(tmp_path_factory.mktemp("data"), (21, 20), (32, 32))


def chosen(shards: Shards, count: int, seed: int = 0) -> list[int]:
    return training_samples(shards.manifest, 0, count, seed).tolist()


def test_all_training_images_or_as_many_as_asked_for_train(shards):
    every = shards.manifest.indices(0, training=True).tolist()
    assert chosen(shards, 0) == chosen(shards, len(every)) == every
    for count in range(1, len(every)):
        assert len(chosen(shards, count)) == count
        assert chosen(shards, count) == sorted(chosen(shards, count))
        assert set(chosen(shards, count)) < set(chosen(shards, count + 1)) <= set(every)


def test_the_seed_chooses_the_training_images(shards):
    assert chosen(shards, 7) == chosen(shards, 7)
    assert len({tuple(chosen(shards, 7, seed)) for seed in range(20)}) == 20


def test_the_choice_is_not_the_start_of_an_epochs_order(shards):
    every = shards.manifest.indices(0, training=True)
    assert set(chosen(shards, 7)) != set(epoch_order(every, 0, 0, 1).ravel()[:7].tolist())


def test_more_training_images_than_there_are_is_an_error(shards):
    with pytest.raises(UsageError, match="has 20 images to train, not 21; type at most: --set train_images=20"):
        chosen(shards, 21)


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
