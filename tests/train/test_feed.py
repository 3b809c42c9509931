"""What TensorFlow gets from the feed, and that the machinery around it does not change what is trained."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from cloudseg.core.errors import DataError
from cloudseg.data.augment import Augmenter
from cloudseg.data.batches import ALSO, batch_arrays, batch_bytes, fill, sample_size
from cloudseg.data.feed import Feed, validation_batches
from cloudseg.data.sample_order import epoch_order
from cloudseg.data.shards import Shards
from tests import processes
from tests.random_shards import random_shards, spoil
from tests.train.conftest import ROOT, SMALL, assert_identical, command, environment, last_checkpoint

SIZE = (64, 96)
BATCH = 4
EVERYTHING = Augmenter(SIZE, "standard", ALSO, (32, 64), np.arange(23))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return random_shards(tmp_path_factory.mktemp("data"), (9, 14), SIZE)


def expected(shards: Shards, samples: np.ndarray, augment: Augmenter | None, epoch: int) -> tuple[np.ndarray, ...]:
    size = sample_size(shards.manifest, augment)
    arrays = batch_arrays(np.empty(batch_bytes(BATCH, size), np.uint8), BATCH, size)
    fill(*arrays, shards, samples, augment, 3, epoch)
    return arrays


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", [None, Augmenter(SIZE), EVERYTHING], ids=["plain", "augmented", "everything"])
def test_batches_come_in_order_and_hold_on_to_their_pixels(
    shards: Shards, workers: int, augment: Augmenter | None
) -> None:
    order = np.concatenate([epoch_order(np.arange(len(shards)), 0, epoch, BATCH) for epoch in range(4)])
    with Feed(shards, BATCH, augment, 3, workers) as feed:
        batches = list(feed.batches(order, 2))
    assert len(batches) == len(order)
    for samples, (images, masks) in zip(order, batches, strict=True):
        for tensor, array in zip((images, masks), expected(shards, samples, augment, 2), strict=True):
            np.testing.assert_array_equal(tensor.numpy(), array)


@pytest.mark.parametrize("augment", [Augmenter(SIZE), EVERYTHING], ids=["augmented", "everything"])
def test_an_epoch_goes_on_at_any_step(shards: Shards, augment: Augmenter) -> None:
    order = epoch_order(np.arange(len(shards)), 0, 0, BATCH)
    with Feed(shards, BATCH, augment, 3) as feed:
        whole = [images.numpy() for images, _ in feed.batches(order, 0)]
        for step in range(len(order)):
            images, _ = next(iter(feed.batches(order[step:], 0)))
            np.testing.assert_array_equal(images.numpy(), whole[step])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_sample_ends_training_with_its_name(tmp_path: Path, workers: int) -> None:
    shards = random_shards(tmp_path, (6,), SIZE)
    spoil(shards, 4)
    shards = Shards(shards.manifest)
    with (
        Feed(shards, 2, None, 0, workers) as feed,
        pytest.raises(DataError, match=r"shard-00000-of-00001.h5 is damaged at sample 4 \(004.jpg\)"),
    ):
        list(feed.batches(np.arange(6).reshape(3, 2), 0))
    with pytest.raises(DataError, match=r"damaged at sample 4 \(004.jpg\)"):
        list(validation_batches(shards, np.arange(6), 4))


def test_validation_is_every_sample_once_with_its_truth(shards: Shards) -> None:
    samples = np.arange(1, len(shards), 2)
    images, masks, truth = (
        np.concatenate(parts) for parts in zip(*validation_batches(shards, samples, 4), strict=True)
    )
    assert len(images) == len(samples)
    for row, sample in enumerate(samples):
        np.testing.assert_array_equal(images[row], shards.image(sample))
        np.testing.assert_array_equal(masks[row], shards.mask(sample))
        np.testing.assert_array_equal(truth[row], shards.truth(sample))


def test_worker_processes_and_a_copy_on_the_node_train_the_same_weights(data: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    ways = {"threads": {}, "workers": {"CLOUDSEG_FEED_WORKERS": "2", "CLOUDSEG_NODE_FOLDER": str(node)}}
    for name, more in ways.items():
        settings = (*SMALL, "stage.frozen.epochs=1")
        processes.run(
            command(tmp_path / name, "frozen", data, 2, *settings),
            cwd=ROOT,
            env=environment(**{"CLOUDSEG_FEED_WORKERS": "0", **more}),
            check=True,
            stdout=subprocess.DEVNULL,
        )
    assert list(node.glob("cloudseg-*/manifest.json"))
    assert_identical(last_checkpoint(tmp_path / "threads", "frozen"), last_checkpoint(tmp_path / "workers", "frozen"))
