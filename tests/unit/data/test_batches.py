"""What ranks read: every sample once an epoch, and the same pixels of it whatever the number of ranks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cloudseg.core.errors import DataError
from cloudseg.data.augment import Augmenter
from cloudseg.data.batches import PRESETS, batch_arrays, batch_bytes, fill
from cloudseg.data.labels import NO_DATA
from cloudseg.data.sample_order import epoch_order, rank_share
from cloudseg.data.shards import Shards
from tests.random_shards import random_shards, spoil

SIZE = (64, 96)
SAMPLES = 45
GLOBAL_BATCH = 42  # of 1, 2, 3 and 7 ranks


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return random_shards(tmp_path_factory.mktemp("data"), (20, 25), SIZE)


def read(shards: Shards, samples: np.ndarray, epoch: int, preset: str = "standard") -> tuple[np.ndarray, np.ndarray]:
    arrays = batch_arrays(np.empty(batch_bytes(len(samples), SIZE), np.uint8), len(samples), SIZE)
    fill(*arrays, shards, samples, Augmenter(SIZE, preset), 7, epoch)
    return arrays


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_all_ranks_together_read_every_sample_once_and_fill_up_the_last_batch(ranks: int) -> None:
    order = epoch_order(np.arange(SAMPLES), seed=0, epoch=1, global_batch=GLOBAL_BATCH)
    shares = [rank_share(order, rank, ranks) for rank in range(ranks)]
    assert {share.shape for share in shares} == {(2, GLOBAL_BATCH // ranks)}
    seen = Counter(int(sample) for share in shares for sample in share.ravel())
    assert set(seen) == set(range(SAMPLES))
    again = [sample for sample, times in seen.items() if times > 1]
    assert sorted(again) == sorted(order.ravel()[: 2 * GLOBAL_BATCH - SAMPLES])


def test_a_samples_pixels_in_an_epoch_do_not_depend_on_the_number_of_ranks(shards: Shards) -> None:
    order = epoch_order(np.arange(SAMPLES), seed=0, epoch=1, global_batch=GLOBAL_BATCH)
    seen: dict[int, dict[int, bytes]] = {}
    for ranks in (1, 2, 3, 7):
        for rank in range(ranks):
            samples = rank_share(order, rank, ranks)[0]
            for sample, image, mask in zip(samples.tolist(), *read(shards, samples, epoch=1), strict=True):
                seen.setdefault(sample, {})[ranks] = image.tobytes() + mask.tobytes()
    assert all(len(pixels) == 4 and len(set(pixels.values())) == 1 for pixels in seen.values())


def test_another_epoch_is_another_view(shards: Shards) -> None:
    samples = np.arange(20)
    one, two = read(shards, samples, 0)[0], read(shards, samples, 1)[0]
    assert sum((a != b).any() for a, b in zip(one, two, strict=True)) > 10


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_changes_image_and_mask_together(shards: Shards, preset: str) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    mask = np.full(SIZE, 1, np.uint8)
    image[16:48, 24:72], mask[16:48, 24:72] = 200, 2
    augment = Augmenter(SIZE, preset)
    for seed in range(60):
        changed, moved = augment(image, mask, seed)
        assert (changed.shape, changed.dtype, moved.shape, moved.dtype) == (image.shape, np.uint8, SIZE, np.uint8)
        assert set(np.unique(moved)) <= {1, 2, NO_DATA}
        inside = changed[..., 0] > 100
        agree = (inside == (moved == 2))[moved != NO_DATA].mean()
        assert agree > 0.93, (preset, seed)


def test_no_augmentation_changes_nothing(shards: Shards) -> None:
    image, mask = shards.image(0), shards.mask(0)
    changed = Augmenter(SIZE, "none")(image, mask, 1)
    np.testing.assert_array_equal(changed[0], image)
    np.testing.assert_array_equal(changed[1], mask)


@pytest.mark.parametrize("augment", [None, Augmenter(SIZE)])
def test_a_damaged_sample_is_named_when_it_is_read(tmp_path: Path, augment: Augmenter | None) -> None:
    shards = random_shards(tmp_path, (3,), SIZE)
    spoil(shards, 2)
    shards = Shards(shards.manifest)
    arrays = batch_arrays(np.empty(batch_bytes(1, SIZE), np.uint8), 1, SIZE)
    fill(*arrays, shards, np.array([1]), augment, 0, 0)
    with pytest.raises(DataError, match=r"damaged at sample 2 \(002.jpg\)"):
        fill(*arrays, shards, np.array([2]), augment, 0, 0)
