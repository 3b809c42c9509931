"""Whole runs: what a data set holds, and runs that are split up, repeated, killed or short of room."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from cloudseg.core.atomic import remove_temporary_files, replacing
from cloudseg.core.errors import CloudsegError
from cloudseg.data import rle
from cloudseg.data.boxes import BoxTable
from cloudseg.data.labels import CLASSES, NO_DATA, SOURCE_SIZE, RunTable
from cloudseg.data.shards import Manifest, Shards
from preprocess.build import OUTPUTS, build
from preprocess.settings import Settings
from tests.preprocess_source import (
    ROOT,
    SMALL,
    assert_area_average,
    box,
    box_of,
    command,
    contents,
    gone,
    into,
    jpeg,
    labels_of,
    picture,
    run,
    wait_until,
    write_source,
    write_table,
)

# Whole runs


def test_a_data_set_holds_what_an_independent_reading_finds(source: Settings, undisturbed: Path) -> None:
    shards = Shards(Manifest.load(undisturbed))
    assert sorted(sample.name for sample in shards.manifest.samples) == [f"{i:03d}.jpg" for i in range(12)]
    for number, sample in enumerate(shards.manifest.samples):
        shards.verify(number)
        image = cv2.imread(str(source.images / sample.name))
        small = cv2.resize(image, SMALL[::-1], interpolation=cv2.INTER_AREA)[..., ::-1]
        assert np.abs(shards.image(number).astype(int) - small).mean() < 0.5
        masks = [rle.decode(text, *SOURCE_SIZE) for text in labels_of(int(sample.name[:3]))]
        for stored in (shards.mask(number), shards.truth(number)):
            assert 0.05 < np.mean(stored == NO_DATA) < 0.3
            assert_area_average(stored, masks)


def test_the_summary_counts(source: Settings, tmp_path: Path) -> None:
    said = build(into(source, tmp_path / "out"), None, 2, strict=False)
    assert said.startswith("12 samples in 3 shards, ")
    assert "0 rejected" in said
    assert "12 images read in " in said


def test_one_worker_or_many_write_the_same_bytes(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    build(into(source, tmp_path / "shard per worker"), None, 1, strict=False)
    build(into(source, tmp_path / "image per worker"), None, 4, strict=False)
    assert contents(tmp_path / "shard per worker") == contents(undisturbed)
    assert contents(tmp_path / "image per worker") == contents(undisturbed)


def test_tasks_of_an_array_write_the_same_bytes_as_one_run(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    parts = into(source, tmp_path / "out")
    for index in (2, 0):
        assert "of 3 shards are in" in build(parts, index, 1, strict=False)
        assert not (parts.out / "manifest.json").exists()
    assert build(parts, 1, 1, strict=False).startswith("12 samples in 3 shards")
    assert contents(parts.out) == contents(undisturbed)


def test_tasks_of_an_array_may_run_at_the_same_time(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    parts = into(source, tmp_path / "out")
    tasks = [
        subprocess.Popen(command(parts, "--shard-index", index), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for index in ("0", "1", "2", "1")
    ]
    said = [task.communicate(timeout=60)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0, 0]
    assert any(line.startswith("12 samples in 3 shards") for line in said)
    assert contents(parts.out) == contents(undisturbed)


def test_a_second_run_keeps_every_shard(
    source: Settings, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = into(source, Path(shutil.copytree(undisturbed, tmp_path / "out")))
    before = {path.name: path.stat().st_ino for path in again.out.glob("shard-*")}
    said = build(again, None, 2, strict=False)
    assert "3 of 3 shards exist and are kept" in capsys.readouterr().err
    assert "0 images read" in said
    assert {path.name: path.stat().st_ino for path in again.out.glob("shard-*")} == before


@pytest.mark.parametrize("lost", ["shard", "record", "part of the shard"])
def test_a_shard_that_is_not_whole_is_made_again(
    source: Settings, undisturbed: Path, tmp_path: Path, lost: str
) -> None:
    again = into(source, Path(shutil.copytree(undisturbed, tmp_path / "out")))
    shard = again.out / "shard-00001-of-00003.h5"
    {
        "shard": shard.unlink,
        "record": shard.with_suffix(".json").unlink,
        "part of the shard": lambda: os.truncate(shard, 9),
    }[lost]()
    assert "4 images read" in build(again, None, 2, strict=False)
    assert contents(again.out) == contents(undisturbed)


def test_a_run_clears_what_a_dead_one_left(source: Settings, undisturbed: Path, tmp_path: Path) -> None:
    again = into(source, Path(shutil.copytree(undisturbed, tmp_path / "out")))
    dead = subprocess.Popen(["true"])
    dead.wait()
    (again.out / f".tmp-{os.uname().nodename}-{dead.pid}-7.shard-00001-of-00003.h5").write_bytes(b"half")
    build(again, None, 1, strict=False)
    assert contents(again.out) == contents(undisturbed)


def workers_of(process: int) -> list[int]:
    """Children that work for it (not multiprocessing's own tracker of semaphores)."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc (Linux)")
def test_a_killed_run_is_completed_by_the_next_with_the_same_bytes(tmp_path: Path) -> None:
    source = dataclasses.replace(write_source(tmp_path, 24), shards=12)
    whole = into(source, tmp_path / "whole")
    build(whole, None, 2, strict=False)

    killed = into(source, tmp_path / "killed")
    process = subprocess.Popen(command(killed, "--workers", "2"), cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(killed.out.glob("shard-*.json"))) >= 2)
    workers = workers_of(process.pid)
    process.kill()
    process.wait()
    assert len(workers) == 2
    wait_until(lambda: all(map(gone, workers)), seconds=5)
    made = list(killed.out.glob("shard-*.json"))
    assert 2 <= len(made) < 12
    assert not (killed.out / "manifest.json").exists()

    finished = run(killed)
    assert finished.returncode == 0, finished.stderr
    assert "shards exist and are kept" in finished.stderr
    assert contents(killed.out) == contents(whole.out)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc (Linux)")
def test_a_killed_worker_is_a_clear_error(tmp_path: Path) -> None:
    source = dataclasses.replace(write_source(tmp_path, 24), shards=12)
    process = subprocess.Popen(
        command(source, "--workers", "2"), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    wait_until(lambda: bool(list(source.out.glob("shard-*.json"))))
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert "error: a worker process was killed" in error
    assert "Traceback" not in error
    assert not (source.out / "manifest.json").exists()


def test_a_killed_worker_ends_the_others_too_which_may_wait_for_its_locks(tmp_path: Path) -> None:
    """A worker that is stopped stands for one that waits without end."""
    source = dataclasses.replace(write_source(tmp_path, 24), shards=12)
    process = subprocess.Popen(command(source, "--workers", "2"), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: bool(list(source.out.glob("shard-*.json"))) and len(workers_of(process.pid)) == 2)
    killed, waiting = workers_of(process.pid)
    os.kill(waiting, signal.SIGSTOP)
    os.kill(killed, signal.SIGKILL)
    try:
        assert "error: a worker process was killed" in process.communicate(timeout=60)[1]
    finally:
        for pid in (process.pid, waiting):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert process.returncode == 1


def test_a_full_disk_is_a_clear_error_and_leaves_no_part_of_a_file(
    source: Settings, undisturbed: Path, tmp_path: Path
) -> None:
    full = into(source, tmp_path / "out")
    limit = 60_000  # bytes in a file: less than a shard. The kernel then refuses to write, as on a full disk.
    failed = subprocess.run(
        command(full, "--workers", "1"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: ")
    assert "cannot be written: File too large" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert contents(full.out).items() <= contents(undisturbed).items()
    assert not list(full.out.glob("shard-*"))
    assert run(full).returncode == 0
    assert contents(full.out) == contents(undisturbed)


# Boxes, and images of other sizes


def test_boxes_become_the_same_samples_as_runs_of_the_same_boxes(
    source: Settings, undisturbed: Path, tmp_path: Path
) -> None:
    rows = [f"{number},folder/{number:03d}.jpg,,,,," for number in range(12)]
    for number in range(12):
        for i, label in enumerate(CLASSES):
            top, bottom, left, right = box_of(i)
            if number >> i & 1:
                rows.append(f"{number},folder/{number:03d}.jpg,{left},{top},{right},{bottom},{label}")
    (tmp_path / "boxes.csv").write_text("".join(f"{row}\n" for row in rows))
    boxes = dataclasses.replace(source, table=BoxTable(tmp_path / "boxes.csv"), out=tmp_path / "out")
    done = run(boxes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 samples in 3 shards")
    expected, got = Shards(Manifest.load(undisturbed)), Shards(Manifest.load(boxes.out))
    assert got.manifest.samples == expected.manifest.samples
    for number in range(12):
        np.testing.assert_array_equal(got.mask(number), expected.mask(number))
        np.testing.assert_array_equal(got.truth(number), expected.truth(number))


def test_an_image_of_another_size_is_taken_if_allowed_and_its_labels_are_scaled(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    full = picture(0)
    tall = cv2.resize(full, (1000, 2000), interpolation=cv2.INTER_AREA)
    for name, image in (("a", full), ("b", tall)):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(jpeg(image))
    write_table(tmp_path / "train.csv", [(f"{name}.jpg_Fish", box(0, 700, 700, 2100)) for name in "ab"])
    settings = Settings(
        RunTable(tmp_path / "train.csv"), tmp_path / "images", tmp_path / "out", SMALL, shards=1, folds=2,
        allow_resize=True,
    )  # fmt: skip
    done = run(settings, "--folds", "2", "--strict")
    assert done.returncode == 0, done.stderr
    shards = Shards(Manifest.load(settings.out))
    assert shards.image(0).shape == shards.image(1).shape == (*SMALL, 3)
    assert np.abs(shards.image(0).astype(int) - shards.image(1)).mean() < 2
    assert np.mean(shards.mask(0) != shards.mask(1)) < 0.02
    assert np.mean(shards.mask(0) == 1) > 0.25


@pytest.mark.parametrize("workers", [1, 2])
def test_an_input_error_stops_the_run_and_rejects_nothing(source: Settings, tmp_path: Path, workers: int) -> None:
    stopped = subprocess.run(
        command(into(source, tmp_path / "out"), "--workers", str(workers)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(unreadable_images(tmp_path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert stopped.returncode == 1, stopped.stderr
    assert re.search(r"error: .*005\.jpg cannot be read: Input/output error", stopped.stderr.splitlines()[-1])
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "out" / "rejected.csv").exists()
    assert not (tmp_path / "out" / "manifest.json").exists()


def unreadable_images(folder: Path) -> Path:
    """A folder for PYTHONPATH, with which image 005.jpg stands on a disk that fails, in workers too."""
    (folder / "broken").mkdir()
    (folder / "broken" / "sitecustomize.py").write_text(
        "import pathlib\n"
        "read_bytes = pathlib.Path.read_bytes\n"
        "def failing(path):\n"
        "    if path.name == '005.jpg':\n"
        "        raise OSError(5, 'Input/output error')\n"
        "    return read_bytes(path)\n"
        "pathlib.Path.read_bytes = failing\n"
    )
    return folder / "broken"


# Files that are whole or not there


def test_a_file_that_fails_halfway_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("old")

    def half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "full")

    with pytest.raises(CloudsegError, match=r"manifest.json cannot be written: No space left on device"):
        half()
    assert contents(tmp_path) == {"manifest.json": b"old"}


@pytest.mark.parametrize("waited_for", [True, False])
def test_only_temporary_files_of_dead_runs_are_cleared(tmp_path: Path, waited_for: bool) -> None:
    dead = subprocess.Popen(["true"])
    if waited_for:
        dead.wait()
    else:
        wait_until(lambda: gone(dead.pid))
    host = os.uname().nodename
    name = "shard-00001-of-00003.h5"
    keep = {
        f".tmp-{host}-{os.getpid()}-7.{name}",
        f".tmp-elsewhere-{dead.pid}-7.{name}",
        f".tmp-{host}-{dead.pid}-7.something",
        name,
    }
    for file in (*keep, f".tmp-{host}-{dead.pid}-7.{name}", f".tmp-{host}-{dead.pid}-7.manifest.json"):
        (tmp_path / file).touch()
    remove_temporary_files(tmp_path, OUTPUTS)
    assert set(contents(tmp_path)) == keep
    dead.wait()
