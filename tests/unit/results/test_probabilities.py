"""Probabilities on disk come back as they were, or the file that does not is named."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from cloudseg.core.errors import DataError, UsageError
from cloudseg.results.ensemble import Ensemble
from cloudseg.results.probabilities import PART, Store, stack
from cloudseg.results.sources import Prepared

SHAPE = (4, 350, 525)


def store_of(folder, count: int = PART + 2, first: int = 0, **about) -> Store:
    store = Store.within(folder, [f"{first + i}.jpg" for i in range(count)], {"weights": "w", **about})
    store.prepare()
    return store


def probabilities(store: Store, part: int) -> np.ndarray:
    """Every image of one value, its number's."""
    return np.stack([np.full(SHAPE, number, np.uint8) for number in store.parts()[part]])


def images(store: Store, part: int, skipped: bool = False) -> list[Prepared]:
    """What was read of each image; only the last column has no data."""
    valid = np.ones(SHAPE[1:], bool)
    valid[:, -1] = False
    return [Prepared(np.zeros((64, 96, 3), np.uint8), valid, (140, 200 + i), skipped) for i in store.parts()[part]]


def full(store: Store) -> Store:
    for part in store.missing():
        store.write(part, probabilities(store, part), images(store, part))
    return store


def test_what_is_written_is_read_by_number(tmp_path):
    store = full(store_of(tmp_path))
    assert [int(store.read(i)[0, 0, 0]) for i in range(len(store))] == list(range(PART + 2))
    assert store.read(3).shape == SHAPE and store.read(3).dtype == np.uint8


def test_what_is_missing_is_known(tmp_path):
    store = store_of(tmp_path)
    assert store.missing() == [0, 1]
    store.write(1, probabilities(store, 1), images(store, 1))
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
        two.write(part, probabilities(two, part) + 100, images(two, part))
    assert int(Ensemble([one, two]).read("4.jpg")[0, 0, 0]) == 54
    assert int(Ensemble([one, two], [3, 1]).read("4.jpg")[0, 0, 0]) == 29


def with_head(store: Store) -> Store:
    """Presence of image number i: i / 100 for the first class, more by a tenth for each other."""
    for part in store.missing():
        numbers = np.array(store.parts()[part])
        presence = (numbers[:, None] / 100 + np.arange(4) / 10).astype(np.float32)
        store.write(part, probabilities(store, part), images(store, part), presence)
    return store


def test_presence_is_read_as_it_was_written_and_absent_without_a_head(tmp_path):
    store, without = with_head(store_of(tmp_path)), full(store_of(tmp_path, weights="v"))
    found = store.presence(PART + 1)
    assert found.dtype == np.float32 and found == pytest.approx([0.17, 0.27, 0.37, 0.47])
    assert without.presence(0) is None
    with h5py.File(without.folder / "00000.h5") as file:
        assert set(file) == {"probability", "name", "valid", "size", "skipped"}


def test_presence_of_many_images_is_there_if_all_have_it(tmp_path):
    store = with_head(store_of(tmp_path))
    assert stack(store.presence(i) for i in range(len(store))).shape == (PART + 2, 4)
    assert stack([store.presence(0), None]) is None
    assert stack([]) is None


def test_an_ensemble_has_the_weighted_mean_of_presence_if_all_its_runs_have_a_head(tmp_path):
    one, two = with_head(store_of(tmp_path, weights="1")), with_head(store_of(tmp_path, weights="2", first=3))
    without = full(store_of(tmp_path, weights="3"))
    ensemble = Ensemble([one, two], [3, 1])
    assert ensemble.presence("2.jpg") == pytest.approx(one.presence(2))
    mean = ensemble.presence("4.jpg")  # number 4 of the first, number 1 of the second
    assert mean.dtype == np.float32 and mean == pytest.approx([0.0325, 0.1325, 0.2325, 0.3325])
    assert Ensemble([one, without]).presence("4.jpg") is None
    assert Ensemble([without]).presence("4.jpg") is None


def test_each_image_is_seen_by_the_runs_that_hold_it(tmp_path):
    one, two = full(store_of(tmp_path, count=3)), full(store_of(tmp_path, count=2, first=3))
    ensemble = Ensemble([one, two])
    assert ensemble.names == [f"{i}.jpg" for i in range(5)]
    assert [int(ensemble.read(name)[0, 0, 0]) for name in ensemble.names] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, float("nan")]])
def test_weights_that_make_no_sense_are_refused(tmp_path, weights):
    with pytest.raises(UsageError, match="--weights: give 2 numbers above 0"):
        Ensemble([store_of(tmp_path), store_of(tmp_path)], weights)


def of_pictures(folder, *digests: str) -> Store:
    """A store of 18 pictures, of which the first ones have these digests."""
    every = [*digests, *(["same"] * (PART + 2 - len(digests)))]
    store = Store.within(folder, [f"{i}.jpg" for i in range(PART + 2)], {"weights": "w"}, every)
    store.prepare()
    return store


def test_a_picture_with_other_content_is_predicted_again_and_only_its_part(tmp_path):
    full(of_pictures(tmp_path, "monday"))
    assert of_pictures(tmp_path, "monday").missing() == []
    assert of_pictures(tmp_path, "tuesday").missing() == [0]


def test_two_commands_on_pictures_of_the_same_names_do_not_meet(tmp_path):
    monday, tuesday = full(of_pictures(tmp_path, "monday")), of_pictures(tmp_path, "tuesday")
    tuesday.write(0, probabilities(tuesday, 0) + 100, images(tuesday, 0))
    assert int(monday.read(0)[0, 0, 0]) == 0
    assert int(tuesday.read(0)[0, 0, 0]) == 100


def test_where_an_image_has_data_its_size_and_whether_it_was_skipped_are_kept(tmp_path):
    store = full(of_pictures(tmp_path))
    store.write(1, probabilities(store, 1), images(store, 1, skipped=True))
    assert store.valid(3)[:, :-1].all() and not store.valid(3)[:, -1].any()
    assert store.size(17) == (140, 217)
    assert [store.skipped(0), store.skipped(1)] == [[], [16, 17]]


def test_files_of_earlier_versions_are_read(tmp_path):
    store = store_of(tmp_path, count=3)
    with h5py.File(store.folder / "00000.h5", "w") as file:
        file["probability"], file["name"] = probabilities(store, 0), list(store.names)
    assert store.missing() == store.skipped(0) == []
    assert int(store.read(2)[0, 0, 0]) == 2
