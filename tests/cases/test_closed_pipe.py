"""`| head` has read enough, or the terminal is gone: commands end quietly, and what they were doing is done."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudseg.chain import begin
from cloudseg.core import run as runs
from cloudseg.data.labels import HEADER
from tests import processes
from tests.cases.conftest import ONE_EPOCH, ROOT, TINY, clean_environment, settings

FILES = (ROOT / "cloudseg").glob("*.py")
COMMANDS = ["preprocess", *sorted(f"cloudseg.{file.stem}" for file in FILES if "run_command(main)" in file.read_text())]
TROUBLE = re.compile("Traceback|Exception|BrokenPipe|Broken pipe|Errno")


@contextlib.contextmanager
def typed(
    *words: object, stdout: int, stderr: int = subprocess.PIPE, fresh: bool = True, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """A command at work; `fresh` as in `processes`, for how Python itself ends. Those of TensorFlow are not."""
    # Python writes what it prints in blocks to a pipe unless this says otherwise, as it may where tests run.
    environment = {name: value for name, value in clean_environment().items() if name != "PYTHONUNBUFFERED"}
    process = processes.Popen(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env={**environment, "CUDA_VISIBLE_DEVICES": "", **environ},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        fresh=fresh,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def unread(*words: object, both: bool = False, fresh: bool = True, **environ: str) -> None:
    """Run a command whose output (with `both`, errors too) nobody reads from the start; it ends quietly with 0."""
    reading, writing = os.pipe()
    os.close(reading)
    with typed(*words, stdout=writing, stderr=writing if both else subprocess.PIPE, fresh=fresh, **environ) as process:
        os.close(writing)
        said = process.communicate(timeout=600)[1] or ""
    assert process.returncode == 0, said
    assert not TROUBLE.search(said)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_cut_short(command: str):
    unread(command, "--help")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        "cloudseg.status {run}", "cloudseg.status {run} --json", "cloudseg.recipes", "cloudseg.recipes demo",
        "cloudseg.weights list", "preprocess --verify {data} --workers 1",
        "cloudseg.launch --stages all --dry-run --run {new} --data {data}",
    ],
)  # fmt: skip
def test_printed_text_is_cut_short(words: str, unbuffered: str, run: Path, data: Path, tmp_path: Path):
    filled = words.format(run=run, data=data, new=tmp_path / "new").split()
    unread(*filled, PYTHONUNBUFFERED=unbuffered)


def test_listing_of_networks_is_cut_short():
    unread("cloudseg.models", "vanilla", fresh=False)


def test_check_of_a_submission_is_cut_short_and_its_exit_code_says_what_it_found(demo: Path, tmp_path: Path):
    good, bad = demo / "sample_submission.csv", tmp_path / "bad.csv"
    bad.write_text(",".join(HEADER) + "\n")
    unread("cloudseg.predict", "--check", good, "--sample", good)
    reading, writing = os.pipe()
    os.close(reading)
    with typed("cloudseg.predict", "--check", bad, "--sample", good, stdout=writing) as process:
        os.close(writing)
        said = process.communicate(timeout=600)[1]
    assert (process.returncode, said) == (1, "")


def stands_still(folder: Path, data: Path) -> Path:
    """A run of which no stage is done, with a log that nobody writes to."""
    made = begin.run(folder / "waits", [("test", {"data": str(data), "weights": "none"})])
    made.jobs.mkdir(parents=True)
    (made.jobs / "frozen.log").write_text("epoch 1\nepoch 2\n")
    return made.path


@pytest.mark.parametrize("words", ["cloudseg.logs {run} --follow", "cloudseg.status {run} --watch --every 500"])
def test_command_that_watches_a_run_ends_when_its_reader_has_left(words: str, data: Path, tmp_path: Path):
    filled = words.format(run=stands_still(tmp_path, data)).split()
    with typed(*filled, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(240) == 0
        assert not TROUBLE.search(process.stderr.read())


def test_generated_images_are_whole(tmp_path: Path):
    unread("cloudseg.demo", "--out", tmp_path / "demo", "--images", 2, "--test-images", 1)
    assert (tmp_path / "demo" / "train.csv").exists()


@pytest.mark.parametrize("both", [False, True])
def test_shards_are_whole(demo: Path, tmp_path: Path, both: bool):
    files = ["--csv", demo / "train.csv", "--images", demo / "train_images", "--out", tmp_path / "shards"]
    unread("preprocess", *files, "--size", "64x96", "--folds", 4, "--workers", 1, both=both)
    assert (tmp_path / "shards" / "manifest.json").exists()


def test_masks_are_written(run: Path, demo: Path, tmp_path: Path):
    words = ("cloudseg.predict", "--run", run, "--images", demo / "test_images", "--out", tmp_path / "out.csv")
    unread(*words, both=True, fresh=False)
    assert (tmp_path / "out.csv").exists()


def test_training_goes_on_to_its_end(data: Path, tmp_path: Path):
    """The ranks print to the same pipe, and so does the hook, which SIGPIPE would end."""
    hook = f"echo said; echo warned >&2; echo $CLOUDSEG_STAGE >> {tmp_path}/ended"
    options = ["--stages", "frozen", "--cluster", "local", "--tasks-per-node", 2]
    words = ("cloudseg.launch", *options, "--run", tmp_path / "run", "--data", data, *settings(*TINY, *ONE_EPOCH))
    with typed(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, fresh=False, CLOUDSEG_HOOK=hook) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(600) == 0
    tries = runs.open_run(tmp_path / "run").attempts("frozen").read_text().splitlines()
    assert [json.loads(each)["how"] for each in tries] == ["done"]
    assert (tmp_path / "ended").read_text() == "frozen\n"


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """Slurm's commands, which take every job and know of none."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    counts = f'echo "$@" >> {folder}/submitted; echo Submitted batch job $(wc -l < {folder}/submitted)'
    for name, body in {"sbatch": counts, "squeue": "", "sacct": "", "scontrol": "", "scancel": "", "srun": ""}.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def test_all_jobs_of_a_chain_are_queued(slurm: Path, data: Path, tmp_path: Path):
    words = ("cloudseg.launch", "--stages", "all", "--cluster", "slurm", "--run", tmp_path / "run", "--data", data)
    unread(*words, *settings(*TINY), PATH=f"{slurm}:{os.environ['PATH']}")
    assert len((slurm / "submitted").read_text().splitlines()) == 4


def test_command_ends_quietly_when_its_terminal_is_gone():
    seen, terminal = pty.openpty()
    with typed("cloudseg.recipes", stdout=terminal) as process:
        os.close(terminal)
        os.close(seen)
        said = process.communicate(timeout=600)[1]
    assert (process.returncode, said) == (0, "")
