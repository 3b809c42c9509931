"""Processes that make batches: the same pixels as without them, and no harm done by signals and deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cloudseg.core.errors import CloudsegError, DataError
from cloudseg.data.augment import Augmenter
from cloudseg.data.batches import ALSO, fill
from cloudseg.data.shards import Shards
from cloudseg.data.workers import Workers
from tests.random_shards import random_shards, spoil

SIZE = (64, 96)
BATCH = 4


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return random_shards(tmp_path_factory.mktemp("data"), (5, 7), SIZE)


@pytest.fixture(scope="module")
def workers(shards: Shards) -> Iterator[Workers]:
    """For several tests, of which none may harm them."""
    made = Workers(shards.manifest, Augmenter(SIZE), BATCH, 2)
    yield made
    made.close()


def processes(workers: Workers) -> list[int]:
    return [worker.process.pid for worker in workers._workers]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_makes_the_batch_that_this_process_would(shards: Shards, workers: Workers) -> None:
    rows = np.random.default_rng(0).integers(0, len(shards), (12, BATCH))
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda row: [a.copy() for a in workers.make(row, 3, 5)], rows))
    for row, (images, masks) in zip(rows, made, strict=True):
        expected = np.empty((BATCH, *SIZE, 3), np.uint8), np.empty((BATCH, *SIZE), np.uint8)
        fill(*expected, shards, row, Augmenter(SIZE), 3, 5)
        np.testing.assert_array_equal(images, expected[0])
        np.testing.assert_array_equal(masks, expected[1])


def test_a_worker_crops_and_mixes_as_this_process_would(shards: Shards) -> None:
    augment = Augmenter(SIZE, "standard", ALSO, (32, 64), np.arange(len(shards)))
    made = Workers(shards.manifest, augment, BATCH, 1)
    try:
        images, masks = made.make(np.arange(BATCH), 3, 5)
    finally:
        made.close()
    expected = np.empty((BATCH, 32, 64, 3), np.uint8), np.empty((BATCH, 32, 64), np.uint8)
    fill(*expected, shards, np.arange(BATCH), augment, 3, 5)
    np.testing.assert_array_equal(images, expected[0])
    np.testing.assert_array_equal(masks, expected[1])


def test_signals_that_stop_a_step_do_not_stop_its_workers(workers: Workers) -> None:
    for process in processes(workers):
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            os.kill(process, number)
    for _ in range(4):
        assert workers.make(np.arange(BATCH), 0, 0)[0].shape == (BATCH, *SIZE, 3)


def test_a_killed_worker_is_a_clear_error(shards: Shards) -> None:
    workers = Workers(shards.manifest, None, BATCH, 1)
    try:
        (process,) = processes(workers)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(CloudsegError, match="was killed"):
            workers.make(np.arange(BATCH), 0, 0)
    finally:
        workers.close()


def test_closing_ends_the_processes(shards: Shards) -> None:
    workers = Workers(shards.manifest, None, BATCH, 2)
    workers.close()
    assert [worker.process.poll() for worker in workers._workers] == [0, 0]


def test_workers_end_with_the_process_that_started_them(shards: Shards) -> None:
    code = (
        "import sys, time; from cloudseg.data.shards import Manifest; from cloudseg.data.workers import Workers;"
        "w = Workers(Manifest.load(sys.argv[1]), None, 2, 2);"
        "print(*(x.process.pid for x in w._workers), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(shards.manifest.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        left = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(left) == 2
    wait_until(lambda: not any(Path(f"/proc/{process}/cmdline").exists() and alive(process) for process in left))


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_damaged_sample_is_named_when_it_is_read(tmp_path: Path) -> None:
    shards = random_shards(tmp_path, (3,), SIZE)
    spoil(shards, 1)
    workers = Workers(shards.manifest, Augmenter(SIZE), 1, 1)
    try:
        workers.make(np.array([0]), 0, 0)
        with pytest.raises(DataError, match=r"shard-00000-of-00001.h5 is damaged at sample 1 \(001.jpg\)"):
            workers.make(np.array([1]), 0, 0)
        workers.make(np.array([2]), 0, 0)
    finally:
        workers.close()
