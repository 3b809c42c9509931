"""What ranks read: every sample once an epoch, and the same pixels of it whatever the number of ranks."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cloudseg.core.errors import DataError
from cloudseg.data import cutmix
from cloudseg.data.augment import Augmenter
from cloudseg.data.batches import ALSO, PRESETS, batch_arrays, batch_bytes, fill
from cloudseg.data.labels import NO_DATA
from cloudseg.data.sample_order import epoch_order, rank_share
from cloudseg.data.shards import Shards
from tests.random_shards import random_shards, spoil

SIZE = (64, 96)
SAMPLES = 45
GLOBAL_BATCH = 42  # of 1, 2, 3 and 7 ranks
EVERYTHING = Augmenter(SIZE, "standard", ALSO, (32, 64), np.arange(SAMPLES))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return random_shards(tmp_path_factory.mktemp("data"), (20, 25), SIZE)


def read(
    shards: Shards, samples: np.ndarray, epoch: int, augment: Augmenter | None = None
) -> tuple[np.ndarray, np.ndarray]:
    augment = augment or Augmenter(SIZE)
    arrays = batch_arrays(np.empty(batch_bytes(len(samples), augment.size), np.uint8), len(samples), augment.size)
    fill(*arrays, shards, samples, augment, 7, epoch)
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


@pytest.mark.parametrize("augment", [Augmenter(SIZE), EVERYTHING], ids=["standard", "everything"])
def test_a_samples_pixels_in_an_epoch_do_not_depend_on_the_number_of_ranks(shards: Shards, augment: Augmenter) -> None:
    order = epoch_order(np.arange(SAMPLES), seed=0, epoch=1, global_batch=GLOBAL_BATCH)
    seen: dict[int, dict[int, bytes]] = {}
    for ranks in (1, 2, 3, 7):
        for rank in range(ranks):
            samples = rank_share(order, rank, ranks)[0]
            for sample, image, mask in zip(samples.tolist(), *read(shards, samples, 1, augment), strict=True):
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


def augmented(also: str, seed: int) -> tuple[np.ndarray, ...]:
    """An image and its mask before and after one added transform. No pixel of the image is black or grey."""
    random = np.random.default_rng(seed)
    image = np.stack([random.integers(low, low + 50, SIZE) for low in (20, 100, 180)], axis=-1).astype(np.uint8)
    mask = random.integers(0, 16, SIZE, np.uint8)
    return image, mask, *Augmenter(SIZE, "none", (also,))(image, mask, seed)


def test_pixels_that_coarse_dropout_drops_are_black_and_have_no_data() -> None:
    dropped = []
    for seed in range(60):
        image, mask, changed, moved = augmented("coarse_dropout", seed)
        holes = moved == NO_DATA
        assert (changed[holes] == 0).all()
        np.testing.assert_array_equal(changed[~holes], image[~holes])
        np.testing.assert_array_equal(moved[~holes], mask[~holes])
        dropped.append(holes.mean())
    assert 15 <= np.count_nonzero(dropped) <= 45  # of 60, with probability 0.5
    assert 0.005 < min(share for share in dropped if share) < max(dropped) < 0.17


@pytest.mark.parametrize(("also", "limits"), [("channel_shuffle", (2, 30)), ("grey", (4, 30))])
def test_changes_of_colour_leave_masks_alone(also: str, limits: tuple[int, int]) -> None:
    changes = 0
    for seed in range(80):
        image, mask, changed, kept = augmented(also, seed)
        np.testing.assert_array_equal(kept, mask)
        if (changed == image).all():
            continue
        changes += 1
        if also == "grey":
            assert (changed == changed[..., :1]).all()
        else:
            np.testing.assert_array_equal(np.sort(changed, axis=-1), image)
    assert limits[0] <= changes <= limits[1]  # of 80, with probability 0.2


def test_crops_are_windows_of_the_stored_image_and_mask() -> None:
    rows, columns = np.indices(SIZE, np.uint8)
    image, mask = np.stack([rows, columns, rows], axis=-1), (rows + 2 * columns).astype(np.uint8)
    corners = set()
    for seed in range(400):
        window, labels = Augmenter(SIZE, "none", crop=(32, 64))(image, mask, seed)
        top, left = window[0, 0, :2].tolist()
        np.testing.assert_array_equal(window, image[top : top + 32, left : left + 64])
        np.testing.assert_array_equal(labels, mask[top : top + 32, left : left + 64])
        corners.add((top, left))
    assert {top for top, _ in corners} == {left for _, left in corners} == set(range(33))


def test_a_crop_as_large_as_the_image_is_the_image(shards: Shards) -> None:
    window, _ = read(shards, np.arange(1), 0, Augmenter(SIZE, "none", crop=SIZE))
    np.testing.assert_array_equal(window[0], shards.image(0))


def test_an_augmenter_in_another_process_gives_the_same_pixels(shards: Shards) -> None:
    copied = pickle.loads(pickle.dumps(EVERYTHING))
    for here, there in zip(
        read(shards, np.arange(9), 0, EVERYTHING), read(shards, np.arange(9), 0, copied), strict=True
    ):
        assert here.shape[1:3] == (32, 64)
        np.testing.assert_array_equal(here, there)


def test_cutmix_pastes_image_and_mask_of_one_rectangle_of_a_partner(shards: Shards) -> None:
    partners = np.array([3, 5, 8])
    samples = np.arange(SAMPLES)
    images, masks = read(shards, samples, 2, Augmenter(SIZE, "none", ("cutmix",), partners=partners))
    mixed = 0
    for sample, image, mask in zip(samples.tolist(), images, masks, strict=True):
        patch = cutmix.draw(partners, SIZE, 7, 2, sample)
        expected, labels = shards.image(sample).copy(), shards.mask(sample).copy()
        if patch:
            mixed += 1
            assert patch.partner in partners
            assert patch.partner != sample
            expected[patch.rows, patch.columns] = shards.image(patch.partner)[patch.rows, patch.columns]
            labels[patch.rows, patch.columns] = shards.mask(patch.partner)[patch.rows, patch.columns]
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(mask, labels)
    assert 10 < mixed < 35


def test_a_damaged_partner_is_named(tmp_path: Path) -> None:
    shards = random_shards(tmp_path, (4,), SIZE)
    spoil(shards, 2)
    shards = Shards(shards.manifest)
    augment = Augmenter(SIZE, "none", ("cutmix",), partners=np.array([2]))
    (epoch, *_) = [epoch for epoch in range(99) if cutmix.draw(np.array([2]), SIZE, 7, epoch, 1)]
    with pytest.raises(DataError, match=r"damaged at sample 2 \(002.jpg\)"):
        read(shards, np.array([1]), epoch, augment)
