"""What a run is at, from its folder and from what Slurm says."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess

import pytest

from cloudseg.core import config, lock, tables
from cloudseg.core import run as runs
from cloudseg.core.attempt import Attempt
from cloudseg.core.config import Settings
from cloudseg.core.recipes import Stage
from cloudseg.core.run import Run
from cloudseg.monitor import efficiency, page, state
from cloudseg.slurm import queue
from cloudseg.slurm.queue import AccountingRecord, QueuedJob

STAGES = ("frozen", "partial", "full")


@pytest.fixture
def run(tmp_path) -> Run:
    stage = {name: Stage(encoder=1.0, epochs=4, lr=1e-3) for name in STAGES}
    out = Run(tmp_path / "r", Settings(data="d", stages=STAGES, stage=stage))
    out.jobs.mkdir(parents=True)
    for name in STAGES:
        out.stage(name).mkdir()
    (out.jobs / "queued.json").write_text(json.dumps({"frozen": "11", "partial": "12", "full": "13", "evaluate": "14"}))
    return out


@pytest.fixture
def slurm(monkeypatch):
    """Says what Slurm answers: jobs that the controller holds, and accounts."""

    def says(jobs: dict[str, QueuedJob] | None, accounts: dict[str, list[AccountingRecord]] | None = None) -> None:
        monkeypatch.setattr(queue, "squeue", lambda ids: jobs)
        monkeypatch.setattr(queue, "sacct", lambda ids: accounts)

    return says


def job(of: str, reason: str = "None", dependency: str = "(null)") -> QueuedJob:
    return QueuedJob(of, reason, "1:00", "59:00", "node1" if of == "RUNNING" else "", dependency)


def account(of: str, seconds: int = 60, gpus: int = 0) -> AccountingRecord:
    return AccountingRecord(of, "0:0", "Unknown", "Unknown", "Unknown", seconds, gpus)


def finish(run: Run, stage: str) -> None:
    (run.stage(stage) / "DONE.json").write_text("{}")


def tried(run: Run, stage: str, how: str, number: str | None, reason: str = "") -> None:
    with run.attempts(stage).open("a") as file:
        line = {"job": number, "how": how, "reason": reason, "from_step": 0, "to_step": 4, "reached": 4}
        file.write(json.dumps(line) + "\n")


def states(run: Run) -> dict[str, str]:
    return {each.stage: each.state for each in state.query(run)[0]}


def why(run: Run, stage: str) -> str:
    return next(each.why for each in state.query(run)[0] if each.stage == stage)


def test_a_chain_that_is_under_way(run, slurm):
    finish(run, "frozen")
    tried(run, "frozen", "done", "11")
    waits = job("PENDING", "Dependency", "afterok:12(unfulfilled)")
    last = job("PENDING", "Dependency", "afterok:13(unfulfilled)")
    slurm({"12": job("RUNNING"), "13": waits, "14": last})
    assert states(run) == {"frozen": "done", "partial": "running", "full": "queued", "evaluate": "queued"}
    assert why(run, "full") == "waits for partial"
    assert why(run, "evaluate") == "waits for full"


def test_a_job_that_waits_after_it_has_run_is_requeued(run, slurm):
    tried(run, "frozen", "lost", "11", "rank 1 died")
    slurm({"11": job("PENDING", "BeginTime")})
    found = state.query(run)[0][0]
    assert (found.state, found.restarts) == ("requeued", 1)
    assert "waits for the delay of Slurm" in found.why


def test_a_stage_that_failed_says_why(run, slurm):
    tried(run, "frozen", "failed", "11", "the loss is no number")
    slurm({"11": job("FAILED"), "12": job("CANCELLED")})
    assert states(run) == {"frozen": "failed", "partial": "cancelled", "full": "lost", "evaluate": "lost"}
    assert why(run, "frozen") == "the loss is no number"


@pytest.mark.parametrize(
    ("ended", "expected"),
    [("FAILED", "failed"), ("TIMEOUT", "failed"), ("OUT_OF_MEMORY", "failed"), ("CANCELLED", "cancelled"),
     ("COMPLETED", "failed")],
)  # fmt: skip
def test_what_the_controller_forgot_accounting_remembers(run, slurm, ended, expected):
    slurm({}, {"11": [account(ended)]})
    assert states(run)["frozen"] == expected


def test_a_job_that_nobody_knows_is_lost(run, slurm):
    slurm({}, {})
    assert states(run)["frozen"] == "lost"


def test_without_slurm_what_is_done_is_done_and_the_rest_is_not_called_lost(run, slurm):
    finish(run, "frozen")
    slurm(None, None)
    assert states(run) == {"frozen": "done", "partial": "to come", "full": "to come", "evaluate": "to come"}
    assert [remark.partition(":")[0] for remark in state.query(run)[1]] == [
        "squeue does not answer", "there is no accounting (sacct)",
    ]  # fmt: skip


def test_without_accounting_running_and_finished_stages_are_right(run, slurm):
    finish(run, "frozen")
    slurm({"12": job("RUNNING"), "13": job("PENDING", "Priority"), "14": job("PENDING", "Dependency")}, None)
    assert states(run) == {"frozen": "done", "partial": "running", "full": "queued", "evaluate": "queued"}


def test_a_stage_on_this_machine_runs_while_its_process_lives(run, slurm):
    (run.jobs / "queued.json").unlink()
    slurm({}, {})
    with lock.hold(run.lock("frozen"), "a", lambda owner: False, ""):
        assert states(run)["frozen"] == "running"
    tried(run, "frozen", "stopped", None, "stopped on a signal")
    assert states(run) == {"frozen": "stopped", "partial": "to come", "full": "to come", "evaluate": "to come"}


def test_a_job_that_was_refused_does_not_hide_the_one_that_runs(run, slurm, monkeypatch, capsys):
    from cloudseg import cancel

    with lock.hold(run.lock("full"), "a", lambda owner: False, ""):
        owner = json.loads(run.lock("full").read_text())
        run.lock("full").write_text(json.dumps({**owner, "job": "13"}))
        tried(run, "full", "failed", "105", "others are at work on it")
        slurm({"13": job("RUNNING")})
        assert states(run)["full"] == "running"
    monkeypatch.setattr(runs, "open_run", lambda path: run)
    monkeypatch.setattr("sys.argv", ["cancel"])
    cancelled = []
    monkeypatch.setattr(
        "subprocess.run", lambda command, **_: cancelled.extend(command) or subprocess.CompletedProcess(command, 0)
    )
    cancel.main()
    assert cancelled == ["scancel", "13"]


def test_an_evaluation_of_an_earlier_stage_is_not_that_of_the_run(run, slurm):
    for stage in STAGES[:2]:
        (run.stage(stage) / "DONE.json").write_text(json.dumps({"weights_sha256": stage}))
    run.evaluation.mkdir()
    run.metrics.write_text(json.dumps({"weights_sha256": "partial"}))
    slurm({}, {"14": [account("COMPLETED")]})
    assert states(run)["evaluate"] == "done"
    (run.stage("full") / "DONE.json").write_text(json.dumps({"weights_sha256": "full"}))
    assert states(run)["evaluate"] == "to come"
    assert why(run, "evaluate") == "the existing evaluation is of an earlier stage"


def test_jobs_that_were_submitted_by_hand_are_known_from_what_they_left(run):
    (run.jobs / "queued.json").unlink()
    tried(run, "frozen", "lost", "9")
    tried(run, "frozen", "done", "21")
    assert state.job_ids(run, "frozen") == ["9", "21"]


def test_hours_of_gpus_are_those_of_all_tries(run, slurm):
    slurm({}, {"11": [account("REQUEUED", 1800, 8), account("COMPLETED", 3600, 8)]})
    assert state.query(run)[0][0].gpu_hours == 12


def test_time_in_the_queue_counts_from_when_a_job_could_have_started():
    known = AccountingRecord("COMPLETED", "0:0", "2026-11-25T22:00:00", "2026-11-25T23:30:05", "Unknown", 0, 0)
    assert known.queued_s == 5405
    assert account("PENDING").queued_s == 0


def history(run: Run, stage: str, *rows: tuple[int, int, float, float]) -> None:
    text = "epoch,step,dice,images_per_s,seconds,waiting_s,saving_s\n"
    text += "".join(f"{epoch},{step},{dice},100,{seconds},1,2\n" for epoch, step, dice, seconds in rows)
    run.history(stage).write_text(text)


def test_progress_is_that_of_the_history_and_of_the_ranks_that_run(run, slurm):
    history(run, "frozen", (1, 10, 0.4, 60.0), (2, 20, 0.3, 40.0))
    folder = run.jobs / "attempts" / "key"
    folder.mkdir(parents=True)
    (folder / "rank-0.json").write_text(json.dumps({"step": 25}))
    slurm({"11": job("RUNNING")})
    with lock.hold(run.lock("frozen"), "key", lambda owner: False, ""):
        found = state.query(run)[0][0].progress
    assert (found.epoch, found.epochs, found.step, found.dice) == (2, 4, 25, 0.4)
    assert found.left_s == pytest.approx(15 * 5)


def trained(run: Run, ranks: int, images_per_s: float) -> None:
    """`full` is done, and the run can be opened."""
    run.stage("full").mkdir(parents=True, exist_ok=True)
    (run.path / "run.toml").write_text(config.toml(config.to_table(run.settings)))
    finish(run, "full")
    (run.stage("full") / "stage.json").write_text(json.dumps({"ranks": ranks, "device": "/physical_device:GPU:0"}))
    history(run, "full", (1, 10, 0.4, 60.0), (2, 20, 0.3, 40.0))
    run.history("full").write_text(run.history("full").read_text().replace(",100,", f",{images_per_s},"))


def test_what_a_stage_took_is_told_beside_what_one_rank_alone_does(run, slurm, tmp_path):
    trained(dataclasses.replace(run, path=tmp_path / "one"), 1, 10)
    trained(run, 4, 36)
    slurm({}, {"13": [account("COMPLETED", 1800, 4)]})
    found = efficiency.of_stage(next(each for each in state.query(run)[0] if each.stage == "full"))
    assert page.costs(found) == ("full", "2 min", "9.0", "90%", "2.0%", "4.0%", "", "2.0")


def test_where_accounting_cannot_be_asked_hours_are_those_of_the_tries(run, slurm):
    trained(run, 4, 36)
    for began, ended in ((0, 900), (2000, 2900)):
        with run.attempts("full").open("a") as file:
            file.write(json.dumps({"job": "13", "how": "done", "reason": "", "began": began, "ended": ended}) + "\n")
    slurm({}, None)
    found = efficiency.of_stage(next(each for each in state.query(run)[0] if each.stage == "full"))
    assert (found.queued_s, found.gpu_hours) == (None, 2)


def test_the_page_has_the_table_the_reason_the_log_and_what_to_type(run, slurm):
    finish(run, "frozen")
    history(run, "frozen", (4, 40, 0.4567, 60.0))
    tried(run, "partial", "failed", "12", "shard-3.h5 is damaged")
    (run.jobs / "partial.log").write_text("\n".join(f"line {i}" for i in range(100)) + "\n")
    slurm({"12": job("FAILED"), "13": job("CANCELLED"), "14": job("CANCELLED")})
    shown = "\n".join(page.lines(run, *state.query(run)))
    assert "frozen    done       4 of 4  40    0.457" in shown
    assert "partial: shard-3.h5 is damaged" in shown
    assert "  line 99" in shown and "  line 9\n" not in shown
    assert f"python -m cloudseg.resume {run.path}" in shown


def test_squeue_and_sacct_are_asked_once_however_many_jobs_there_are(run, tmp_path, monkeypatch):
    """With commands in their place that count."""
    for name in ("squeue", "sacct"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho called >>{tmp_path}/{name}.calls\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for number in range(500):
        tried(run, "frozen", "lost", str(number))
    state.query(run)
    assert [(tmp_path / f"{name}.calls").read_text() for name in ("squeue", "sacct")] == ["called\n"] * 2


def test_squeue_is_read():
    text = (
        "12|RUNNING|None|10:00|50:00|node[1-2]|(null)\n13_4|PENDING|Dependency|0:00|1:00:00||afterok:12(unfulfilled)\n"
    )
    found = queue.parse_squeue(text)
    assert found["12"] == QueuedJob("RUNNING", "None", "10:00", "50:00", "node[1-2]", "(null)")
    assert queue.reason(found["13_4"], {"12": "partial"}) == "waits for partial"


def test_sacct_is_read_with_every_try():
    text = (
        "12|REQUEUED|0:0|2026-11-25T22:00:00|2026-11-25T22:01:00|2026-11-25T22:02:00|60|billing=8,cpu=8,gres/gpu=4,node=2\n"
        "12|CANCELLED by 0|0:15|2026-11-25T22:00:00|Unknown|2026-11-25T22:02:00|0|\n"
    )
    assert queue.parse_sacct(text) == {
        "12": [
            AccountingRecord(
                "REQUEUED", "0:0", "2026-11-25T22:00:00", "2026-11-25T22:01:00", "2026-11-25T22:02:00", 60, 4
            ),
            AccountingRecord("CANCELLED", "0:15", "2026-11-25T22:00:00", "Unknown", "2026-11-25T22:02:00", 0, 0),
        ]
    }


def test_spans_are_short():
    assert [tables.span(seconds) for seconds in (4.4, 61, 228, 3585, 93659)] == [
        "4 s", "1 min", "4 min", "1 h 00", "26 h 01",
    ]  # fmt: skip


def test_a_stage_that_labels_pictures_shows_what_it_does_before_its_first_step(run, slurm):
    finish(run, "frozen")
    attempt = Attempt.of(run.jobs, "12-a")
    run.lock("partial").write_text(json.dumps(dataclasses.asdict(lock.Owner.current("12-a"))))
    slurm({"12": job("RUNNING"), "13": job("PENDING", "Dependency", "afterok:12(unfulfilled)")})
    for preparation in ("predicts 40 pictures", ""):
        attempt.heartbeat(0).write_text(json.dumps({"step": 0, "preparation": preparation}))
        assert why(run, "partial") == preparation
    attempt.heartbeat(0).write_text(json.dumps({"step": 0}))  # of an earlier version
    assert why(run, "partial") == ""
