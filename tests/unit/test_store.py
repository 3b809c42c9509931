"""Probabilities on disk come back as they were, or the file that does not is named."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from cloudseg.errors import DataError, UsageError
from cloudseg.results.blend import Blend
from cloudseg.results.store import PART, Store

SHAPE = (4, 350, 525)


def store_of(folder, count: int = PART + 2, first: int = 0, **about) -> Store:
    store = Store.within(folder, [f"{first + i}.jpg" for i in range(count)], {"weights": "w", **about})
    store.prepare()
    return store


def probabilities(store: Store, part: int) -> np.ndarray:
    """Every image of one value, its number's."""
    return np.stack([np.full(SHAPE, number, np.uint8) for number in store.parts()[part]])


def full(store: Store) -> Store:
    for part in store.missing():
        store.write(part, probabilities(store, part))
    return store


def test_what_is_written_is_read_by_number(tmp_path):
    store = full(store_of(tmp_path))
    assert [int(store.read(i)[0, 0, 0]) for i in range(len(store))] == list(range(PART + 2))
    assert store.read(3).shape == SHAPE and store.read(3).dtype == np.uint8


def test_what_is_missing_is_known(tmp_path):
    store = store_of(tmp_path)
    assert store.missing() == [0, 1]
    store.write(1, probabilities(store, 1))
    assert store.missing() == [0]


def test_other_weights_or_other_images_are_another_store(tmp_path):
    stores = [store_of(tmp_path), store_of(tmp_path, weights="v"), store_of(tmp_path, count=3), store_of(tmp_path)]
    assert len({store.folder for store in stores}) == 3
    assert stores[0].folder == stores[3].folder
    assert json.loads((stores[1].folder / "about.json").read_text()) == {"weights": "v", "images": PART + 2}


def test_any_tool_opens_the_files(tmp_path):
    store = full(store_of(tmp_path))
    with h5py.File(store.folder / "00001.h5") as file:
        assert file["name"].asstr()[...].tolist() == ["16.jpg", "17.jpg"]
        assert file["probability"].shape == (2, *SHAPE)


def test_a_damaged_file_is_named(tmp_path):
    store = full(store_of(tmp_path))
    path = store.folder / "00000.h5"
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        content[file["probability"].id.get_chunk_info(0).byte_offset + 9] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"00000.h5 is damaged.*delete it"):
        store.read(0)


def test_the_file_of_other_images_is_not_taken(tmp_path):
    store, other = full(store_of(tmp_path)), full(store_of(tmp_path, first=100))
    (store.folder / "00000.h5").write_bytes((other.folder / "00000.h5").read_bytes())
    with pytest.raises(DataError, match="it holds other images"):
        store.read(0)


def test_an_ensemble_is_the_weighted_mean(tmp_path):
    one, two = full(store_of(tmp_path, weights="1")), store_of(tmp_path, weights="2")
    for part in two.missing():
        two.write(part, probabilities(two, part) + 100)
    assert int(Blend([one, two]).read("4.jpg")[0, 0, 0]) == 54
    assert int(Blend([one, two], [3, 1]).read("4.jpg")[0, 0, 0]) == 29


def test_each_image_is_seen_by_the_runs_that_hold_it(tmp_path):
    one, two = full(store_of(tmp_path, count=3)), full(store_of(tmp_path, count=2, first=3))
    blend = Blend([one, two])
    assert blend.names == [f"{i}.jpg" for i in range(5)]
    assert [int(blend.read(name)[0, 0, 0]) for name in blend.names] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, float("nan")]])
def test_weights_that_make_no_sense_are_refused(tmp_path, weights):
    with pytest.raises(UsageError, match="--weights: give 2 numbers above 0"):
        Blend([store_of(tmp_path), store_of(tmp_path)], weights)
