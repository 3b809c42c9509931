"""Reading shards: what comes back, and what is said about files that are missing, damaged or from
elsewhere."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from cloudseg.core.errors import DataError, UsageError
from cloudseg.data.shards import FORMAT, MANIFEST, NO_FOLD, TRUTH_SIZE, Manifest, Shards, joined, remake, shard_file
from preprocess.assemble import assemble
from preprocess.samples import MadeSample
from preprocess.verify import verify
from preprocess.write import Target, write_record, write_shard
from tests.random_shards import flip

ROOT = Path(__file__).resolve().parents[3]
SIZE = (32, 64)
COUNTS = (3, 0, 2)
FOLDS = 3


def made(number: int) -> MadeSample:
    random = np.random.default_rng(number)
    truth = np.zeros(TRUTH_SIZE, np.uint8)
    truth[: 10 + number, :20] = 1 << number % 4
    mask = random.integers(0, 16, SIZE, np.uint8)
    mask[:, : number + 1] = 0x80
    return MadeSample(f"wölke_{number}.jpg", number % FOLDS, random.integers(0, 256, (*SIZE, 3), np.uint8), mask, truth)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of five random samples in three shards, the middle one empty."""
    folder = tmp_path_factory.mktemp("data")
    fingerprint = {"shards": len(COUNTS), "folds": FOLDS, "seed": 0}
    start = 0
    for index, count in enumerate(COUNTS):
        target = Target(folder, index, len(COUNTS), SIZE, fingerprint)
        samples = [made(number) for number in range(start, start + count)]
        write_record(target, *write_shard(target, samples), [], {})
        start += count
    assert assemble(folder, fingerprint, SIZE)
    return folder


@pytest.fixture
def data(written: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(written, tmp_path / "data"))


@pytest.fixture
def shards(data: Path) -> Shards:
    return Shards(Manifest.load(data))


def test_the_manifest_tells_sizes_classes_and_samples(data: Path) -> None:
    manifest = Manifest.load(data)
    assert (manifest.size, manifest.truth_size, manifest.folds) == (SIZE, (350, 525), FOLDS)
    assert manifest.classes == ("Fish", "Flower", "Gravel", "Sugar")
    assert [shard.count for shard in manifest.shards] == list(COUNTS)
    assert [(s.name, s.shard, s.index, s.fold) for s in manifest.samples] == [
        (f"wölke_{i}.jpg", shard, index, i % FOLDS)
        for i, (shard, index) in enumerate([(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)])
    ]


def test_areas_count_pixels_of_the_mask(shards: Shards) -> None:
    for number, sample in enumerate(shards.manifest.samples):
        mask = made(number).mask
        assert sample.areas == tuple(int(((mask >> i) & 1).sum()) for i in range(4))
        assert sample.no_data == (number + 1) * SIZE[0]


def test_every_sample_comes_back_as_it_was_written(shards: Shards) -> None:
    assert len(shards) == 5
    for number in range(5):
        sample = made(number)
        np.testing.assert_array_equal(shards.image(number), sample.image)
        np.testing.assert_array_equal(shards.mask(number), sample.mask)
        np.testing.assert_array_equal(shards.truth(number), sample.truth)
        assert shards.name(number) == sample.name
        shards.verify(number)


def test_numbers_may_be_numpy_integers(shards: Shards) -> None:
    np.testing.assert_array_equal(shards.mask(np.int64(4)), made(4).mask)


def test_images_and_masks_are_views_of_the_file_and_read_only(shards: Shards) -> None:
    for view in (shards.image(1), shards.mask(1)):
        assert type(view) is np.ndarray
        assert not view.flags.owndata
        assert not view.flags.writeable


def test_any_hdf5_reader_sees_the_same(data: Path) -> None:
    with h5py.File(data / shard_file(2, 3)) as file:
        np.testing.assert_array_equal(file["image"][1], made(4).image)
        np.testing.assert_array_equal(file["mask"][1], made(4).mask)
        np.testing.assert_array_equal(file["truth"][1], made(4).truth)
        assert file["name"].asstr()[1] == made(4).name
        assert file["image"].chunks is None
        assert file["mask"].chunks is None


def test_threads_share_one_reader(shards: Shards) -> None:
    wrong: list[int] = []

    def read(order: list[int]) -> None:
        for number in order * 20:
            same = all(
                np.array_equal(got(number), getattr(made(number), kind))
                for kind, got in (("image", shards.image), ("mask", shards.mask), ("truth", shards.truth))
            )
            if not same:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=([*range(i, 5), *range(i)],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_process_reads_on(shards: Shards) -> None:
    shards.truth(0)
    child = os.fork()
    if not child:
        os._exit(0 if all(np.array_equal(shards.truth(i), made(i).truth) for i in range(5)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_folds_part_the_samples(data: Path) -> None:
    manifest = Manifest.load(data)
    assert manifest.indices(1, training=False).tolist() == [1, 4]
    assert manifest.indices(1, training=True).tolist() == [0, 2, 3]


@pytest.mark.parametrize("fold", [-1, FOLDS])
def test_a_fold_that_is_not_there_is_refused(data: Path, fold: int) -> None:
    with pytest.raises(UsageError, match="has folds 0 to 2"):
        Manifest.load(data).indices(fold, training=True)


def test_the_digest_follows_the_content(data: Path) -> None:
    before = Manifest.load(data).digest
    assert Manifest.load(data).digest == before
    text = (data / MANIFEST).read_text(encoding="utf-8")
    (data / MANIFEST).write_text(text.replace('"fold": 2', '"fold": 1'), encoding="utf-8")
    assert Manifest.load(data).digest != before


def test_without_a_manifest_the_command_to_type_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"manifest.json is not there; make the shards first: python -m preprocess"):
        Manifest.load(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "[]", "{}", f'{{"format": {FORMAT}}}', "\x00\x01"])
def test_a_damaged_manifest_is_a_data_error(data: Path, text: str) -> None:
    (data / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        Manifest.load(data)


@pytest.mark.parametrize("version", [1, 99])
def test_another_format_version_is_refused(data: Path, version: int) -> None:
    content = json.loads((data / MANIFEST).read_text(encoding="utf-8"))
    (data / MANIFEST).write_text(json.dumps(content | {"format": version}), encoding="utf-8")
    with pytest.raises(UsageError, match=f"has format {version}, this version reads 3 and 4; make the shards again"):
        Manifest.load(data)


@pytest.fixture
def earlier(data: Path) -> Path:
    """The data set as one that was made with format 3, which has the same layout."""
    content = json.loads((data / MANIFEST).read_text(encoding="utf-8"))
    settings = {"format": 3, "size": "32x64", "allow_resize": False}
    content |= {"format": 3, "fingerprint": content["fingerprint"] | settings}
    (data / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
    return data


def test_shards_of_format_3_are_read(earlier: Path) -> None:
    shards = Shards(Manifest.load(earlier))
    for number in range(5):
        np.testing.assert_array_equal(shards.image(number), made(number).image)
        np.testing.assert_array_equal(shards.truth(number), made(number).truth)
        shards.verify(number)


def test_damaged_shards_of_format_3_are_to_be_made_in_a_new_folder(earlier: Path) -> None:
    (earlier / shard_file(2, 3)).unlink()
    with pytest.raises(DataError, match=r"--out NEW --size 32x64 --shards 3 --folds 3 --seed 0$"):
        Shards(Manifest.load(earlier)).image(4)


def test_a_missing_shard_is_named(data: Path) -> None:
    (data / shard_file(2, 3)).unlink()
    with pytest.raises(DataError, match=r"shard-00002-of-00003.h5 cannot be read"):
        Shards(Manifest.load(data)).image(4)


def test_a_truncated_shard_is_named(data: Path) -> None:
    path = data / shard_file(0, 3)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DataError, match=r"shard-00000-of-00003.h5 has \d+ bytes instead of \d+"):
        Shards(Manifest.load(data)).mask(0)


# Damaged bytes


def places(path: Path) -> dict[str, list[range]]:
    """Where in a shard lie the image, mask, truth, checksum and name of each sample."""
    content = path.read_bytes()
    with h5py.File(path) as file:
        count = len(file["name"])
        found: dict[str, list[range]] = {"truth": [], "name": []}
        for kind in ("image", "mask", "crc32"):
            start, size = file[kind].id.get_offset(), file[kind].nbytes // count
            found[kind] = [range(start + i * size, start + (i + 1) * size) for i in range(count)]
        for i in range(count):
            chunk = file["truth"].id.get_chunk_info_by_coord((i, 0, 0))
            found["truth"].append(range(chunk.byte_offset, chunk.byte_offset + chunk.size))
            name = file["name"].asstr()[i].encode()
            found["name"].append(range(content.index(name), content.index(name) + len(name)))
    return found


def faults(data: Path) -> dict[int, str]:
    """What reading everything, sample by sample, finds wrong: by number of the sample."""
    shards, found = Shards(Manifest.load(data)), {}
    for number in range(len(shards)):
        try:
            shards.verify(number)
        except DataError as error:
            found[number] = str(error)
    return found


@pytest.mark.parametrize("kind", ["image", "mask", "truth"])
@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_byte_of_a_sample_is_found_there_and_nowhere_else(data: Path, kind: str, seed: int) -> None:
    rng = random.Random(seed)
    path = data / shard_file(0, 3)
    index = rng.randrange(3)
    place = rng.choice(places(path)[kind][index])
    flip(path, place, bits=0xFF if kind == "truth" else 1 << rng.randrange(8))
    found = faults(data)
    if kind == "truth" and not found:  # gzip has several ways to write the same
        np.testing.assert_array_equal(Shards(Manifest.load(data)).truth(index), made(index).truth)
        return
    assert list(found) == [index]
    assert f"{path} is damaged at sample {index} (wölke_{index}.jpg)" in found[index]


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_reader_that_has_copied_a_sample_can_check_it(shards: Shards, kind: str) -> None:
    pixels = {"image": shards.image(1).copy(), "mask": shards.mask(1).copy()}
    shards.check(1, **pixels)
    pixels[kind][5, 7] ^= 1
    with pytest.raises(DataError, match=r"shard-00000-of-00003.h5 is damaged at sample 1 \(wölke_1.jpg\)"):
        shards.check(1, **pixels)


def test_image_and_mask_of_different_samples_do_not_pass_for_one(shards: Shards) -> None:
    with pytest.raises(DataError, match="damaged at sample 1"):
        shards.check(1, shards.image(1), shards.mask(0))


def test_a_damaged_truth_is_found_when_it_is_read(data: Path) -> None:
    path = data / shard_file(0, 3)
    flip(path, places(path)["truth"][2][-1], bits=1)
    with pytest.raises(DataError, match=r"damaged at sample 2 \(wölke_2.jpg\)"):
        Shards(Manifest.load(data)).truth(2)


@pytest.mark.parametrize("mark", [b"\x89HDF", b"GCOL", b"SNOD", b"TREE", b"fingerprint"])
def test_damage_to_the_files_own_structure_does_no_harm_to_reading(data: Path, mark: bytes) -> None:
    path = data / shard_file(0, 3)
    flip(path, path.read_bytes().index(mark))
    assert faults(data) == {}


def test_reading_needs_no_hdf5() -> None:
    code = "import sys, cloudseg.data.shards; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def write_pseudo_labels(folder: Path) -> Path:
    """Two samples with pseudo-labels in two shards, and an empty shard."""
    folder.mkdir()
    fingerprint = {"labels": "pseudo", "shards": 3, "folds": FOLDS, "seed": 0}
    for index, numbers in enumerate(((7,), (), (8,))):
        target = Target(folder, index, 3, SIZE, fingerprint)
        samples = [
            dataclasses.replace(made(number), fold=NO_FOLD, weight=0.45, label_source="pseudo: 12ab")
            for number in numbers
        ]
        write_record(target, *write_shard(target, samples), [], {})
    assemble(folder, fingerprint, SIZE)
    return folder


def test_samples_say_what_they_weigh_and_who_labelled_them(tmp_path: Path) -> None:
    manifest = Manifest.load(write_pseudo_labels(tmp_path / "pseudo"))
    assert [(s.weight, s.label_source) for s in manifest.samples] == [(0.45, "pseudo: 12ab")] * 2
    assert len(manifest.indices(0, training=True)) == len(manifest.indices(0, training=False)) == 0
    assert manifest.without_fold().tolist() == [0, 1]
    assert verify(manifest.folder, 1).startswith("2 samples in 3 shards")


def test_a_manifest_of_labels_from_a_table_is_that_of_earlier_versions(data: Path) -> None:
    manifest = Manifest.load(data)
    assert {(s.weight, s.label_source) for s in manifest.samples} == {(1.0, "table")}
    for path in (data / MANIFEST, data / shard_file(0, 3).replace(".h5", ".json")):
        fields = {key for sample in json.loads(path.read_text())["samples"] for key in sample}
        assert fields == {"name", "shard", "index", "fold", "areas", "no_data", "crc32", "truth"}


def test_joined_data_sets_are_read_as_one_with_the_numbers_after_each_other(data: Path, tmp_path: Path) -> None:
    base, pseudo = Manifest.load(data), Manifest.load(write_pseudo_labels(tmp_path / "pseudo"))
    both = Shards(joined(base, pseudo))
    assert len(both) == 7
    for number, expected in enumerate([*map(made, range(5)), made(7), made(8)]):
        both.verify(number)
        assert both.name(number) == expected.name
        np.testing.assert_array_equal(both.image(number), expected.image)
        np.testing.assert_array_equal(both.mask(number), expected.mask)
    for training in (True, False):
        np.testing.assert_array_equal(both.manifest.indices(1, training), base.indices(1, training))
    assert both.manifest.without_fold().tolist() == [5, 6]
    assert len({base.digest, pseudo.digest, both.manifest.digest}) == 3


def test_data_sets_of_different_sizes_are_not_joined(data: Path) -> None:
    base = Manifest.load(data)
    with pytest.raises(DataError, match=r"has images of \(32, 32\)"):
        joined(base, dataclasses.replace(base, size=(32, 32)))


def test_damage_to_pseudo_labels_names_their_file_and_what_makes_it_again(data: Path, tmp_path: Path) -> None:
    pseudo = write_pseudo_labels(tmp_path / "pseudo")
    path = pseudo / shard_file(2, 3)
    flip(path, places(path)["image"][0][0])
    with pytest.raises(DataError) as caught:
        Shards(joined(Manifest.load(data), Manifest.load(pseudo))).verify(6)
    assert f"{path} is damaged at sample 0 (wölke_8.jpg)" in str(caught.value)
    assert str(caught.value).endswith("python -m cloudseg.launch --stages pseudo --run RUN")
    assert remake(pseudo) == "python -m cloudseg.launch --stages pseudo --run RUN"
