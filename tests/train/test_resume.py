"""A stage that is disturbed ends with the weights of one that is not, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import processes
from tests.train.conftest import (
    ROOT,
    SMALL,
    assert_identical,
    command,
    done,
    environment,
    last_checkpoint,
    losses,
    stage_folder,
)

SETTINGS = (*SMALL, "stage.frozen.epochs=3", "checkpoint.every_steps=2", "checkpoint.keep=20")


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    processes.run(
        command(run, "frozen", data, 2, *SETTINGS),
        cwd=ROOT,
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
        fresh=True,  # as users start it: the others must end like it
    )
    return run


def disturb(run: Path, data: Path, how) -> tuple[int, str]:
    """Start the stage, do `how` to it once its first checkpoint is there; returns its exit code and output."""
    log = run.parent / "log"
    with log.open("w") as out:
        process = processes.Popen(
            command(run, "frozen", data, 2, *SETTINGS), cwd=ROOT, env=environment(), stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + 240
        while not list(run.glob("1-frozen/checkpoints/step-*.json")):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        how(process)
        return process.wait(120), log.read_text()
    finally:
        process.kill()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def assert_same_end(run: Path, undisturbed: Path) -> None:
    assert_identical(last_checkpoint(run, "frozen"), last_checkpoint(undisturbed, "frozen"))
    assert losses(run, "frozen") == losses(undisturbed, "frozen")
    assert done(run, "frozen")["dice"] == done(undisturbed, "frozen")["dice"]


def test_killed_after_its_first_checkpoint(data, train, tmp_path, undisturbed):
    run = tmp_path / "run"
    code, _ = disturb(run, data, lambda process: process.kill())
    assert code == -signal.SIGKILL
    assert not (run / "1-frozen" / "DONE.json").exists()
    assert "from epoch 1 of 3, step 0" not in train(run, "frozen", 2, *SETTINGS)
    assert_same_end(run, undisturbed)


def test_one_rank_killed_ends_the_step_on_all_and_it_is_started_again(data, tmp_path, undisturbed):
    run = tmp_path / "run"
    code, said = disturb(run, data, lambda process: os.kill(children(process.pid)[1], signal.SIGKILL))
    assert code == 0, said
    assert "stage frozen resumes from its last checkpoint: rank 0 ends because another rank ended: rank 1 on" in said
    assert_same_end(run, undisturbed)


def test_one_rank_told_to_stop_stops_all_with_the_state_saved(data, train, tmp_path, undisturbed):
    run = tmp_path / "run"
    code, said = disturb(run, data, lambda process: os.kill(children(process.pid)[1], signal.SIGUSR2))
    assert code == 75, said
    assert "stopped with its state saved" in said
    train(run, "frozen", 2, *SETTINGS)
    assert_same_end(run, undisturbed)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(data, train, tmp_path, undisturbed):
    run = tmp_path / "run"
    disturb(run, data, lambda process: process.send_signal(signal.SIGTERM))
    saved = sorted((stage_folder(run, "frozen") / "checkpoints").glob("step-*.npz"))
    saved[-1].write_bytes(saved[-1].read_bytes()[:-100])
    said = train(run, "frozen", 2, *SETTINGS)
    assert f"{saved[-1].name} has another sha256 than written" in said
    assert_same_end(run, undisturbed)


def test_another_number_of_ranks_is_refused_with_what_to_type(data, train, tmp_path):
    run = tmp_path / "run"
    disturb(run, data, lambda process: process.send_signal(signal.SIGTERM))
    assert "is of 2 ranks and 1 were started" in train(run, "frozen", 1, *SETTINGS, expect=2)
