"""What squeue and sacct say of jobs, whatever the version of Slurm."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from cloudseg.slurm import queue
from cloudseg.slurm.queue import AccountingRecord, QueuedJob

# `job_state_string` in src/common/slurm_protocol_defs.c of Slurm 26.05, and three of which only manuals speak.
WITH_NODES = "RUNNING COMPLETING CONFIGURING SUSPENDED STAGE_OUT STOPPED SIGNALING RESIZING POWER_UP_NODE"
IN_THE_QUEUE = (
    "PENDING REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT RESV_DEL_HOLD EXPEDITING LAUNCH_FAILED RECONFIG_FAIL"
)
OVER = "COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY REVOKED"

# `jsra` in src/common/job_state_reason.c of Slurm 26.05.
REASONS = Path(__file__).with_name("golden").joinpath("slurm-reasons.txt").read_text().split()


def job(state: str, reason: str = "None", nodes: str = "") -> QueuedJob:
    return QueuedJob(state, reason, "1:00", "59:00", nodes, "(null)")


def account(state: str) -> AccountingRecord:
    return AccountingRecord(state, "0:0", "Unknown", "Unknown", "Unknown", 60, 0)


@pytest.mark.parametrize("state", WITH_NODES.split())
def test_a_job_that_has_nodes_runs(state):
    assert job(state).active and job(state).running and not job(state).waiting


@pytest.mark.parametrize("state", IN_THE_QUEUE.split())
def test_a_job_that_has_none_yet_waits(state):
    assert job(state).active and job(state).waiting and not job(state).running


@pytest.mark.parametrize("state", OVER.split())
def test_a_job_that_is_over_is_not_held(state):
    assert not job(state).active and not job(state).running and not job(state).waiting


def test_a_job_in_a_state_that_no_version_knew_is_alive_until_accounting_says_otherwise():
    new = {"7": job("LEVITATING", nodes="node1"), "8": job("?")}
    assert new["7"].running and new["8"].waiting
    assert queue.reconciled(new, {}) == new
    assert queue.reconciled(new, {"7": [account("RUNNING")]}) == new
    assert queue.reconciled(new, {"7": [account("REQUEUED"), account("FAILED")]})["7"].state == "FAILED"


def test_accounting_that_lags_does_not_end_a_job_in_a_known_state():
    requeued = {"7": job("PENDING", "BeginTime")}
    assert queue.reconciled(requeued, {"7": [account("PREEMPTED")]}) == requeued


def test_every_reason_of_slurms_is_told_in_words():
    explanations = {reason: queue.reason(job("PENDING", reason), {}) for reason in REASONS}
    explanations.pop("Dependency")
    assert [reason for reason, words in explanations.items() if reason in words] == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "other jobs have a higher priority"),
        ("InvalidQOS", "its quality of service is not valid"),
        ("JobHoldMaxRequeue", "requeued as often as the cluster allows"),
        ("PartitionConfig", "asks for more than the partition allows"),
        ("launch failed requeued held", "a node failed to start it; to release it: scontrol release"),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher partitions",
            "down, drained",
        ),
        ("ReqNodeNotAvail, UnavailableNodes:node[1-2]", "nodes are down or reserved"),
        ("QOSMaxGRESPerUser", "you are at a limit of this quality of service"),
        ("MaxGRESPerAccount", "limit of GPUs"),
        ("AssocGrpGRES", "your account is at a limit"),
        ("NoSuchReasonYet", "waits: NoSuchReasonYet"),
    ],
)
def test_what_users_can_do_about_a_reason(reason, words):
    assert words in queue.reason(job("PENDING", reason), {})


def test_a_state_that_is_not_simply_pending_is_named():
    assert queue.reason(job("RESV_DEL_HOLD", "ReservationDeleted"), {}).endswith("(RESV_DEL_HOLD)")
    assert "SIGSTOP" in queue.remark(job("STOPPED"))
    assert queue.remark(job("RUNNING")) == ""


@pytest.mark.parametrize(
    ("tres", "gpus"),
    [
        ("billing=8,cpu=8,gres/gpu=4,mem=8000M,node=1", 4),
        ("billing=8,cpu=8,gres/gpu:v100=4,mem=8000M,node=1", 4),
        ("cpu=8,gres/gpu=4,gres/gpu:v100=4,node=1", 4),
        ("cpu=8,gres/gpu:a100=2,gres/gpu:v100=4,node=2", 6),
        ("cpu=8,gres/gpumem=32G,gres/gpuutil=20,node=1", 0),
        ("cpu=8,gres/shard=4,node=1", 0),
        ("", 0),
    ],
)
def test_gpus_are_counted_once_whether_sites_account_for_types_or_not(tres, gpus):
    assert queue.gpus(tres) == gpus


@pytest.fixture
def paris(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


BEFORE, AFTER = 1792889400, 1792890600
"""2026-10-25 02:50 in summer time, and 20 minutes later, 02:10 in winter time."""


def test_time_in_the_queue_is_right_in_the_night_in_which_clocks_are_set_back(paris, monkeypatch, tmp_path):
    print_time = "date --date=@%d +${SLURM_TIME_FORMAT:-%%Y-%%m-%%dT%%H:%%M:%%S}"
    times = "|".join(f"$({print_time % each})" for each in (BEFORE, AFTER, AFTER + 3600))
    (tmp_path / "sacct").write_text(f'#!/bin/sh\necho "7|COMPLETED|0:0|{times}|3600|gres/gpu=4"\n')
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    local = subprocess.run(["sacct"], capture_output=True, text=True, check=True).stdout
    assert "|2026-10-25T02:50:00|2026-10-25T02:10:00|" in local
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")  # the user's, which does not reach sacct
    (record,) = (queue.sacct(["7"]) or {})["7"]
    assert record.queued_s == 1200


@pytest.mark.parametrize(
    ("eligible", "start", "waited"),
    [
        ("1000", "1300", 300),
        ("2026-11-25T22:00:00", "2026-11-25T22:05:00", 300),
        ("2026-03-29T01:50:00", "2026-03-29T03:10:00", 1200),  # summer time begins
        ("Unknown", "1300", 0),
        ("1000", "None", 0),
        ("1300", "1000", 0),
    ],
)
def test_time_in_the_queue_of_every_form_of_times(paris, eligible, start, waited):
    assert AccountingRecord("COMPLETED", "0:0", eligible, start, "Unknown", 0, 0).queued_s == waited
