"""`python -m preprocess --verify`: whole data is said to be whole, and every damaged byte is found and placed."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from cloudseg.core.errors import DataError, UsageError
from cloudseg.data.shards import MANIFEST, Manifest, shard_file
from preprocess.build import build
from preprocess.settings import Settings
from preprocess.verify import verify
from tests import processes
from tests.preprocess_source import ROOT, contents, into
from tests.random_shards import flip

SHARDS = 3


def verified(folder: Path) -> subprocess.CompletedProcess[str]:
    return processes.run(
        [sys.executable, "-m", "preprocess", "--verify", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=20, libraries=processes.LIGHT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def copy(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path_factory.mktemp("verify") / "data"))


@pytest.fixture
def data(copy: Path) -> Iterator[Path]:
    """Twelve samples in three shards, to be spoiled; mended afterwards."""
    before = {path: path.read_bytes() for path in copy.iterdir()}
    yield copy
    for path, content in before.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def places(path: Path) -> dict[str, list[range]]:
    """Where in a shard lie the image, mask, truth and checksum of each sample."""
    with h5py.File(path) as file:
        count = len(file["name"])
        found: dict[str, list[range]] = {"truth": []}
        for kind in ("image", "mask"):
            start, size = file[kind].id.get_offset(), file[kind].nbytes // count
            found[kind] = [range(start + i * size, start + (i + 1) * size) for i in range(count)]
        for i in range(count):
            chunk = file["truth"].id.get_chunk_info_by_coord((i, 0, 0))
            found["truth"].append(range(chunk.byte_offset, chunk.byte_offset + chunk.size))
    return found


def sample_at(path: Path, place: int) -> int | None:
    """The sample of a shard to which a byte belongs; None for the file's own bytes."""
    return next((i for ranges in places(path).values() for i, part in enumerate(ranges) if place in part), None)


def truths(path: Path, parts: list[range]) -> list[bytes | None]:
    """What each gzip stream holds. There are several ways to write the same, so damage need not change it."""
    content, found = path.read_bytes(), list[bytes | None]()
    for part in parts:
        try:
            found.append(zlib.decompress(content[part.start : part.stop]))
        except zlib.error:
            found.append(None)
    return found


def test_whole_data_is_exit_code_0_and_counted(data: Path) -> None:
    done = verified(data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 samples in 3 shards, ")
    assert done.stdout.endswith(": every digest is right\n")


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_byte_anywhere_is_found_and_placed(data: Path, seed: int) -> None:
    rng = random.Random(seed)
    shard = rng.randrange(SHARDS)
    path = data / shard_file(shard, SHARDS)
    place, bits = rng.randrange(path.stat().st_size), rng.randrange(1, 256)
    sample, parts = sample_at(path, place), places(path)["truth"]
    before = truths(path, parts)
    flip(path, place, bits)
    harmless = any(place in part for part in parts) and truths(path, parts) == before
    with pytest.raises(DataError) as found:
        verify(data, 2)
    assert found.value.exit_code == 1
    assert f"{path} is damaged" in str(found.value)
    names = {sample.name for sample in Manifest.load(data).samples if sample.name in str(found.value)}
    if sample is not None and not harmless:
        assert names == {name_of(data, shard, sample)}
    for other in set(range(SHARDS)) - {shard}:
        assert shard_file(other, SHARDS) not in str(found.value)


def name_of(data: Path, shard: int, index: int) -> str:
    return next(s.name for s in Manifest.load(data).samples if (s.shard, s.index) == (shard, index))


@pytest.mark.parametrize("kind", ["image", "mask", "truth"])
@pytest.mark.parametrize("end", ["first", "last"])
def test_a_flipped_byte_of_a_sample_is_exit_code_1_naming_shard_and_sample(data: Path, kind: str, end: str) -> None:
    path = data / shard_file(1, SHARDS)
    part = places(path)[kind][2]
    flip(path, part[0] if end == "first" else part[-1])
    done = verified(data)
    assert done.returncode == 1
    assert f"error: {path} is damaged" in done.stderr
    assert name_of(data, 1, 2) in done.stderr
    assert not any(name_of(data, 1, other) in done.stderr for other in (0, 1, 3))
    assert "delete each damaged file and the .json beside it, then make it again: python -m preprocess" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("mark", "offset", "bits"),
    [
        (b"\x89HDF", 0, 0xFF),  # the signature
        (b"\x89HDF", 8, 0x01),  # the version of the format
        (b"\x89HDF", 40, 0xFF),  # the end of the file
        (b"fingerprint\0", 3, 0x01),
        (b"fingerprint\0", 17, 0xFF),  # what kind of string it is: HDF5's library would crash
        (b"GCOL", 0, 0xFF),  # the heap of strings
        (b"GCOL", 25, 0x01),  # the length of a string in it: HDF5's library would never end
        (b".jpg", 0, 0x01),  # an image's name
        (b"TREE", 0, 0xFF),  # where the chunks of `truth` lie
        (b"SNOD", 0, 0xFF),  # which datasets there are
        (b"crc32", 0, 0x01),
    ],
)
def test_a_flipped_byte_of_the_files_own_structure_is_exit_code_1_naming_the_shard(
    data: Path, mark: bytes, offset: int, bits: int
) -> None:
    path = data / shard_file(1, SHARDS)
    flip(path, path.read_bytes().index(mark) + offset, bits)
    done = verified(data)
    assert done.returncode == 1, done.stderr
    assert f"error: {path} is damaged" in done.stderr
    assert shard_file(0, SHARDS) not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_mends_what_was_deleted_as_verify_says(source: Settings, undisturbed: Path, data: Path) -> None:
    path = data / shard_file(1, SHARDS)
    flip(path, places(path)["image"][0][0])
    for deleted in (path, path.with_suffix(".json")):
        deleted.unlink()
    build(into(source, data), None, 1, strict=False)
    assert contents(data) == contents(undisturbed)
    assert verify(data, 1).endswith(": every digest is right")


def test_a_missing_shard_is_exit_code_1_and_named(data: Path) -> None:
    (data / shard_file(2, SHARDS)).unlink()
    done = verified(data)
    assert done.returncode == 1
    assert f"{data / shard_file(2, SHARDS)} cannot be read: No such file or directory" in done.stderr


def test_a_truncated_shard_is_named(data: Path) -> None:
    path = data / shard_file(0, SHARDS)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"shard-00000-of-00003.h5 is damaged"):
        verify(data, 1)


def test_every_damaged_shard_is_named(data: Path) -> None:
    for shard in (0, 2):
        flip(data / shard_file(shard, SHARDS), 20_000)
    with pytest.raises(DataError) as found:
        verify(data, 2)
    named = [shard for shard in range(SHARDS) if shard_file(shard, SHARDS) in str(found.value)]
    assert named == [0, 2]


def test_a_shard_in_the_place_of_another_is_found(data: Path) -> None:
    shutil.copy(data / shard_file(0, SHARDS), data / shard_file(1, SHARDS))
    with pytest.raises(DataError, match=r"shard-00001-of-00003.h5 is damaged"):
        verify(data, 1)


def test_without_a_manifest_it_is_exit_code_2_with_what_to_type(tmp_path: Path) -> None:
    done = verified(tmp_path)
    assert done.returncode == 2
    assert "manifest.json is not there; make the shards first: python -m preprocess --csv" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_manifest_is_an_error(data: Path) -> None:
    flip(data / "manifest.json", 0)
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        verify(data, 1)


def test_nothing_is_verified_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"manifest.json is not there"):
        verify(tmp_path / "file", 1)


def test_data_is_made_or_verified_not_both() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "preprocess", "--verify", "data", "--csv", "train.csv"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert "not allowed with argument --verify" in done.stderr


@pytest.mark.parametrize("change", [{"name": "another.jpg"}, {"fold": 99}, {"crc32": 5}, {"areas": [1, 2, 3, 4]}])
def test_a_manifest_that_is_not_the_shards_is_said(data: Path, change: dict[str, object]) -> None:
    content = json.loads((data / MANIFEST).read_text(encoding="utf-8"))
    shard = content["samples"][5]["shard"]
    content["samples"][5] |= change
    (data / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=rf"manifest.json and .*shard-0000{shard}-of-00003.json do not agree"):
        verify(data, 2)
