"""A packed table is read as the plain one, by every process, and leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data import table_file
from cloudseg.data.labels import RunTable

CONTENT = b"Image_Label,EncodedPixels\na.jpg_Fish,1 2\n"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunTable:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(CONTENT))
    return RunTable(tmp_path / "train.csv.gz")


def test_its_digest_is_that_of_the_plain_table(table: RunTable) -> None:
    assert table.read()[2] == hashlib.sha256(CONTENT).hexdigest()


def test_what_is_unpacked_has_no_name_that_a_killed_process_could_leave_behind(table: RunTable, tmp_path: Path) -> None:
    (labels,), _, _ = table.read()
    assert table.runs(labels, 0).ends.tolist() == [2]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_another_process_reads_it_without_unpacking_it_again(table: RunTable) -> None:
    (labels,), _, _ = table.read()
    table.path.unlink()
    code = "import pickle, sys; table, labels = pickle.load(sys.stdin.buffer); print(table.runs(labels, 0).ends)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps((table, labels)), capture_output=True)
    assert done.stdout == b"[2]\n", done.stderr


def test_too_little_room_is_a_users_mistake_with_a_way_out(disk, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(disk(64)))
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(CONTENT + bytes(1 << 20)))
    with pytest.raises(UsageError, match=r"cannot be unpacked into .*: No space left on device; .*export TMPDIR=DIR"):
        table_file.opened(tmp_path / "train.csv.gz")


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        table_file.opened(tmp_path / "pipe")
