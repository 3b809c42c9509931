"""A copy of the shards on a node's own disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseg.core.errors import DataError
from cloudseg.data.shards import Manifest, Shards
from cloudseg.data.staging import copy_to_node, on_node
from tests.random_shards import random_shards


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "data").mkdir()
    return random_shards(tmp_path / "data", (3, 2)).manifest


def test_the_copy_is_read_in_place_of_the_data_set(manifest: Manifest, tmp_path: Path) -> None:
    assert "copied to" in copy_to_node(manifest, tmp_path / "node")
    copied = on_node(manifest, tmp_path / "node")
    assert copied.folder.is_relative_to(tmp_path / "node")
    shards = Shards(copied)
    for number in range(5):
        shards.verify(number)


def test_without_a_copy_the_data_set_is_read_where_it_is(manifest: Manifest, tmp_path: Path) -> None:
    assert on_node(manifest, tmp_path / "node") is manifest


def test_a_second_start_copies_nothing_again(manifest: Manifest, tmp_path: Path) -> None:
    copy_to_node(manifest, tmp_path / "node")
    shard = on_node(manifest, tmp_path / "node").folder / manifest.shards[0].file
    before = shard.stat().st_mtime_ns
    assert copy_to_node(manifest, tmp_path / "node").startswith("0 MiB")
    assert shard.stat().st_mtime_ns == before


def test_a_copy_of_the_right_size_with_other_bytes_is_made_again(manifest: Manifest, tmp_path: Path) -> None:
    copy_to_node(manifest, tmp_path / "node")
    path = on_node(manifest, tmp_path / "node").folder / manifest.shards[1].file
    path.write_bytes(bytes(path.stat().st_size))
    copy_to_node(manifest, tmp_path / "node")
    assert path.read_bytes() == (manifest.folder / manifest.shards[1].file).read_bytes()


def test_data_sets_do_not_meet(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = random_shards(tmp_path / "other", (4,)).manifest
    copy_to_node(manifest, tmp_path / "node")
    assert on_node(other, tmp_path / "node") is other


def test_a_damaged_shard_is_not_copied(manifest: Manifest, tmp_path: Path) -> None:
    path = manifest.folder / manifest.shards[1].file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"shard-00001-of-00002.h5 is damaged"):
        copy_to_node(manifest, tmp_path / "node")
    assert on_node(manifest, tmp_path / "node") is manifest


def test_a_folder_that_cannot_be_written_is_said_and_does_no_harm(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "node").write_text("a file")
    assert "could not be copied" in copy_to_node(manifest, tmp_path / "node")
    assert on_node(manifest, tmp_path / "node") is manifest
