"""What is left on a node by processes that were killed."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import processes
from tests.cases.conftest import ROOT, TINY, clean_environment, settings


@contextmanager
def typed(*words: object, log: Path, **environ: object) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m WORDS` at work; on leaving, it and its processes end by SIGKILL."""
    more = {name: str(value) for name, value in environ.items()}
    with log.open("wb") as out:
        process = processes.Popen(
            [sys.executable, "-m", *map(str, words)],
            cwd=ROOT,
            env={**clean_environment(), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **more},
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def made_in(folder: Path) -> Iterator[list[str]]:
    """On leaving, the names of all that was made in `folder` since, also of what is gone."""
    names: list[str] = []
    libc, in_create = ctypes.CDLL(None), 0x100  # of sys/inotify.h
    events = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(events, bytes(folder), in_create) > 0
    with os.fdopen(events, "rb", buffering=0) as file:
        yield names
        left = file.read(1 << 20) or b""
    while left:
        size = struct.unpack_from("iIII", left)[3]
        names.append(left[16 : 16 + size].rstrip(b"\0").decode())
        left = left[16 + size :]


def until(ready: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


def test_training_that_is_killed_leaves_no_file_in_the_temporary_folder(data, tmp_path):
    temporary, run, log = tmp_path / "temporary", tmp_path / "run", tmp_path / "log"
    temporary.mkdir()
    chosen = settings(*TINY, "stage.frozen.epochs=100")
    options = ["--run", run, "--stage", "frozen", "--ranks", 2, "--data", data, *chosen]
    with typed("cloudseg.job", *options, log=log, TMPDIR=temporary, CLOUDSEG_FEED_WORKERS=1) as process:
        until(lambda: list(run.glob("1-frozen/checkpoints/step-*.json")), process, log)
    assert list(temporary.iterdir()) == []


def test_best_weights_are_not_copied_to_the_temporary_folder(data, tmp_path, type_):
    temporary, run = tmp_path / "temporary", tmp_path / "run"
    temporary.mkdir()
    chosen = settings(*TINY, "stage.frozen.epochs=1")
    with made_in(temporary) as names:
        type_("cloudseg.job", "--run", run, "--stage", "frozen", "--data", data, *chosen, TMPDIR=str(temporary))
    # Python tries whether a temporary folder can be written with a file of such a name.
    assert [name for name in names if not re.fullmatch("[a-z0-9_]{8}", name)] == []


def test_predicting_that_is_killed_leaves_no_file_in_the_temporary_folder(run, demo, tmp_path):
    temporary, log, pictures = tmp_path / "temporary", tmp_path / "log", tmp_path / "pictures"
    temporary.mkdir()
    pictures.mkdir()
    picture = next((demo / "train_images").iterdir())
    for number in range(32):
        shutil.copyfile(picture, pictures / f"{number:02d}.jpg")
    options = ["--run", run, "--images", pictures, "--out", tmp_path / "out"]
    before = {*run.glob("probabilities/*/*.h5")}
    with typed("cloudseg.predict", *options, log=log, TMPDIR=temporary) as process:
        until(lambda: {*run.glob("probabilities/*/*.h5")} - before, process, log)
    assert list(temporary.iterdir()) == []


def test_a_half_written_copy_of_a_shard_is_removed_from_the_node_by_the_next_start(data, tmp_path, type_):
    shards, node, log = tmp_path / "shards", tmp_path / "node", tmp_path / "log"
    shutil.copytree(data, shards)
    shard = max(shards.glob("*.h5"))
    content = shard.read_bytes()
    shard.unlink()
    os.mkfifo(shard)
    chosen = settings(*TINY, "stage.frozen.epochs=1")
    options = ["--run", tmp_path / "run", "--stage", "frozen", "--data", shards, *chosen]
    with typed("cloudseg.job", *options, log=log, CLOUDSEG_NODE_FOLDER=node) as process, shard.open("wb") as writer:
        writer.write(content[: len(content) // 2])
        writer.flush()
        until(lambda: [*node.rglob(".tmp-*")], process, log)
        os.killpg(process.pid, signal.SIGKILL)
    shard.unlink()
    shard.write_bytes(content)
    assert [*node.rglob(".tmp-*")]
    type_("cloudseg.job", *options, CLOUDSEG_NODE_FOLDER=str(node))
    assert [*node.rglob(".tmp-*")] == []
