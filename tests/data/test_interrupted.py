"""Runs that are killed at any moment or run out of disk: the same command goes on, and in the end nothing shows."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preprocess.settings import Settings
from tests.preprocess_source import ROOT, command, contents, gone, into, run, wait_until, write_source

IMAGES, SHARDS, MOMENTS = 24, 6, 20


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Images, one of them bad, so that there is something to reject."""
    source = write_source(tmp_path_factory.mktemp("source"), IMAGES)
    bad = source.images / "007.jpg"
    bad.write_bytes(bad.read_bytes()[:-100])
    return dataclasses.replace(source, shards=SHARDS)


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    files: dict[str, bytes]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(source: Settings, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What a run writes that nobody disturbs, and how long it takes."""
    whole = into(source, tmp_path_factory.mktemp("undisturbed") / "out")
    started = time.monotonic()
    done = run(whole, "--workers", "2", fresh=True)  # as those that are killed
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    files = contents(whole.out)
    assert len([name for name in files if name.startswith("shard-")]) == 2 * SHARDS
    return Undisturbed(files, seconds)


# Killed

START = Callable[[Settings], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[START]:
    """Start a run in a process group of its own, of which nothing is left after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(settings: Settings) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                command(settings, "--workers", "2"),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        for member in members(process.pid):
            os.kill(member, signal.SIGKILL)
        process.wait()


def members(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number = int(path.read_text().rpartition(")")[2].split()[2])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if number == group and not gone(int(path.parent.name)):
            found.append(int(path.parent.name))
    return found


def kill(process: subprocess.Popen[bytes], whom: str) -> None:
    if whom == "everyone":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc (Linux)")
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_at_any_moment_and_started_again_it_ends_as_if_undisturbed(
    source: Settings, undisturbed: Undisturbed, start: START, tmp_path: Path, moment: int
) -> None:
    whom = ("everyone", "parent")[moment % 2]
    killed = into(source, tmp_path / "out")
    process = start(killed)
    try:
        # Somewhere within its share of the duration, so that together the moments cover all of it.
        process.wait(1.1 * undisturbed.seconds * (moment + random.Random(moment).random()) / MOMENTS)
    except subprocess.TimeoutExpired:
        kill(process, whom)
    # Workers see that their parent is gone, and end by themselves.
    wait_until(lambda: not members(process.pid), seconds=20)
    for name, content in contents(killed.out).items() if killed.out.exists() else ():
        assert name.startswith(".tmp-") or content == undisturbed.files[name]

    again = run(killed, "--workers", "2" if moment % 5 == 0 else "1")
    assert again.returncode == 0, again.stderr
    assert contents(killed.out) == undisturbed.files


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc (Linux)")
def test_a_run_beside_workers_that_outlived_their_parent_ends_as_if_undisturbed(
    source: Settings, undisturbed: Undisturbed, start: START, tmp_path: Path
) -> None:
    killed = into(source, tmp_path / "out")
    process = start(killed)
    wait_until(lambda: any(killed.out.glob("shard-*.json")))
    kill(process, "parent")
    again = run(killed, "--workers", "2")
    assert again.returncode == 0, again.stderr
    finished = {name: content for name, content in contents(killed.out).items() if not name.startswith(".tmp-")}
    assert finished == undisturbed.files


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc (Linux)")
def test_killed_again_and_again_it_still_gets_to_the_end(
    source: Settings, undisturbed: Undisturbed, start: START, tmp_path: Path
) -> None:
    killed = into(source, tmp_path / "out")
    for shards in range(1, SHARDS):
        process = start(killed)
        wait_until(lambda shards=shards: len(list(killed.out.glob("shard-*.json"))) >= shards)
        kill(process, "everyone")
    again = run(killed, "--workers", "2")
    assert again.returncode == 0, again.stderr
    assert contents(killed.out) == undisturbed.files


# Out of disk


def pages(files: dict[str, bytes]) -> int:
    """Room, in kB, that files take on a disk."""
    return sum(-(-len(content) // 4096) * 4 for content in files.values())


@pytest.mark.parametrize("what", ["anything", "first shard", "third shard", "record", "manifest"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_disk_that_fills_up_is_a_clear_error_and_the_run_goes_on_when_it_is_larger(
    source: Settings, undisturbed: Undisturbed, disk: Callable[[int], Path], what: str, workers: str
) -> None:
    everything = undisturbed.files
    shard = pages({name: content for name, content in everything.items() if name.startswith("shard-00000")})
    before_manifest = pages({name: content for name, content in everything.items() if name != "manifest.json"})
    room = {
        "anything": 0,
        "first shard": shard // 2,
        "third shard": 5 * shard // 2,
        "record": pages({"": everything[f"shard-00000-of-{SHARDS:05d}.h5"]}),
        "manifest": before_manifest,
    }[what]
    # What is on it already leaves so much room.
    place = disk(room + 4)
    (place / "other").write_bytes(bytes(4096))
    full = into(source, place / "out")
    failed = run(full, "--workers", workers)
    assert failed.returncode == 1, failed.stderr
    said = [line for line in failed.stderr.splitlines() if " images/s, " not in line]
    assert len(said) == 1, failed.stderr
    assert said[0].startswith("error: ")
    assert "cannot be written: No space left on device. Finished files are kept" in said[0]
    assert (what == "manifest") == ("manifest.json" in said[0])
    assert contents(full.out).items() <= everything.items()

    disk(2 * pages(everything) + 4)
    again = run(full, "--workers", workers)
    assert again.returncode == 0, again.stderr
    assert contents(full.out) == everything
