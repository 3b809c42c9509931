"""A job that lives is not called failed, and can be cancelled, whatever the version of Slurm calls its state."""

from __future__ import annotations

import json

import pytest

from tests.cases.conftest import TINY, settings


@pytest.fixture
def run(type_, slurm, tmp_path, data):
    """A run whose first stage is job 101."""
    options = ["--stages", "frozen", "--cluster", "slurm", "--site", "ruche", "--run", tmp_path / "r", "--data", data]
    type_("cloudseg.launch", *options, "--no-snapshot", *settings(*TINY), **slurm.environ)
    slurm.forget()
    return tmp_path / "r"


@pytest.fixture
def status(type_, slurm, run):
    def of_the_stage() -> dict:
        return json.loads(type_("cloudseg.status", run, "--json", **slurm.environ).stdout)["stages"][0]

    return of_the_stage


ALIVE = {
    **dict.fromkeys(("STOPPED", "SIGNALING", "RESIZING", "POWER_UP_NODE", "SOMETHING_NEW"), "running"),
    **dict.fromkeys(("RESV_DEL_HOLD", "LAUNCH_FAILED", "EXPEDITING"), "queued"),
}


@pytest.mark.parametrize("state", ALIVE)
def test_a_living_job_is_shown_as_alive_and_is_cancelled(type_, slurm, run, status, state):
    slurm.holds("101", state, nodes="node1" if ALIVE[state] == "running" else "")
    assert status()["state"] == ALIVE[state]
    type_("cloudseg.cancel", run, **slurm.environ)
    assert slurm.calls("scancel") == ["scancel 101"]


def test_a_living_job_is_not_queued_again(type_, slurm, run):
    slurm.holds("101", "STOPPED", nodes="node1")
    again = type_("cloudseg.launch", "--stages", "all", "--cluster", "slurm", "--site", "ruche", "--run", run,
                  **slurm.environ)  # fmt: skip
    assert "queued already" in again.stdout


def test_a_job_in_a_state_not_known_is_over_when_accounting_says_so(slurm, status):
    slurm.holds("101", "SOMETHING_NEW")
    slurm.account("101|TIMEOUT|0:0|Unknown|Unknown|Unknown|3600|cpu=4")
    assert (status()["state"], status()["why"]) == ("failed", "Slurm ended its job: TIMEOUT")


def test_gpu_hours_are_counted_where_accounting_knows_types_alone(slurm, status):
    slurm.account("101|FAILED|1:0|Unknown|Unknown|Unknown|3600|cpu=4,gres/gpu:v100=4,node=1")
    assert status()["gpu_hours"] == 4


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("InvalidQOS", "quality of service is not valid"),
        ("JobHoldMaxRequeue", "scontrol release"),
        ("PartitionConfig", "asks for more than the partition allows"),
    ],
)
def test_why_a_job_waits_is_told_in_words(slurm, status, reason, words):
    slurm.holds("101", "PENDING", reason)
    assert words in status()["why"]


def test_a_job_that_is_being_signalled_requeues_itself_and_does_not_wait_for_its_end(type_, slurm, tmp_path, data):
    (slurm.folder / "bin" / "srun").write_text("#!/bin/sh\nexit 75\n")
    slurm.holds("7", "SIGNALING", nodes="node1")
    job = {"SLURM_JOB_ID": "7", "CLOUDSEG_JOB": "7", "CLOUDSEG_SITE": "local"}
    command = ["cloudseg.job", "--run", tmp_path / "r2", "--stage", "frozen", "--data", data, *settings(*TINY)]
    type_(*command, expect=75, **slurm.environ, **job)
    assert slurm.calls("scontrol") == ["scontrol requeue 7"]
