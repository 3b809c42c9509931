"""A JupyterHub, salloc or `srun --pty` shell is the user's job, not ours: it is neither shown, nor cancelled, nor
requeued, and more than one command runs in it."""

from __future__ import annotations

import json
import signal
import sys
import time

import pytest

from tests import processes
from tests.cases.conftest import ROOT, TINY, clean_environment, settings

SESSION = {
    "SLURM_JOB_ID": "4242", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
    "SLURM_NTASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1",
}  # fmt: skip
PATIENCE_S = 120


@pytest.fixture
def launched(slurm, tmp_path, data):
    """A launch in the session whose first stage trains until it is stopped."""
    slurm.holds("4242", "RUNNING", nodes="node1")
    run = tmp_path / "r"
    command = [sys.executable, "-m", "cloudseg.launch", "--stages", "frozen", "--cluster", "local", "--run", run]
    long = settings(*TINY, "stage.frozen.epochs=100000")
    environ = {**clean_environment(), "CUDA_VISIBLE_DEVICES": "", **slurm.environ, **SESSION}
    with (tmp_path / "log").open("wb") as log:
        process = processes.Popen([*command, "--data", data, *long], cwd=ROOT, env=environ, stdout=log, stderr=log)
    until(lambda: list(run.glob("1-frozen/history.csv")), process, tmp_path / "log")
    yield process
    process.kill()
    process.wait()


def until(condition, process, log):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def stop(process) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)


def test_a_stopped_launch_is_not_running_and_cancel_leaves_the_session_alive(type_, slurm, tmp_path, launched):
    assert stop(launched) == 75
    stages = json.loads(type_("cloudseg.status", tmp_path / "r", "--json", **slurm.environ, **SESSION).stdout)["stages"]
    assert stages[0]["state"] == "stopped"
    said = type_("cloudseg.cancel", tmp_path / "r", **slurm.environ, **SESSION)
    assert "none of its jobs" in said.stdout
    assert slurm.calls("scancel") == []


def test_a_launch_at_work_is_shown_as_running(type_, slurm, tmp_path, launched):
    stages = json.loads(type_("cloudseg.status", tmp_path / "r", "--json", **slurm.environ, **SESSION).stdout)["stages"]
    assert (stages[0]["state"], stages[0]["job"]) == ("running", None)


def test_a_second_launch_in_the_session_is_refused_and_harms_nothing(type_, slurm, tmp_path, launched):
    folders = {path.name for path in (tmp_path / "r" / "jobs" / "attempts").iterdir()}
    second = type_("cloudseg.launch", "--stages", "frozen", "--cluster", "local", "--run", tmp_path / "r", expect=2,
                   **slurm.environ, **SESSION)  # fmt: skip
    assert "is at work here" in second.stderr
    assert {path.name for path in (tmp_path / "r" / "jobs" / "attempts").iterdir()} == folders
    assert stop(launched) == 75, (tmp_path / "log").read_text()
    assert "resumes from its last checkpoint" not in (tmp_path / "log").read_text()


def test_a_stage_typed_in_the_session_does_not_requeue_it(type_, slurm, tmp_path, data):
    (slurm.folder / "bin" / "srun").write_text("#!/bin/sh\nexit 1\n")
    slurm.holds("4242", "RUNNING", nodes="node1")
    command = ["cloudseg.job", "--run", tmp_path / "r", "--stage", "frozen", "--data", data, *settings(*TINY)]
    type_(*command, expect=None, **slurm.environ, SLURM_JOB_ID="4242", CLOUDSEG_SITE="local")
    assert slurm.calls("scontrol") == []
