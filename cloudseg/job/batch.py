"""Runs one stage in a batch job, on its first node: starts the ranks and restarts the stage if work is left.

A stage that stopped on a signal or lost a rank resumes: a Slurm job requeues itself, elsewhere the ranks are started
again. The stage has failed if a rank reports a failure, or if two attempts in a row make no progress.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from cloudseg.core import attempt, run
from cloudseg.core.atomic import with_retries
from cloudseg.core.attempt import Attempt
from cloudseg.core.errors import DONE, CloudsegError, Stopped, UsageError
from cloudseg.core.run import EVALUATE, Run
from cloudseg.core.signals import stop
from cloudseg.job import hook, launcher, restarts
from cloudseg.job.restarts import INTERRUPTED, Outcome
from cloudseg.slurm import commands, durations, queue, script, sites

PAUSE_S = 2.0
"""Seconds before lost ranks are started again on this machine."""

ASK_AGAIN_S = 10.0
"""Seconds between two calls of scontrol while Slurm's controller does not answer."""


def run_stage(path: Path, stage: str, ranks: int | None = None) -> None:
    """Run `stage` (or "evaluate") of the run in the folder `path` until it is done, then the hook of the user.

    The ranks are the tasks of this Slurm job, or `ranks` processes on this machine. Raises Stopped if the stage stopped
    on a signal and the job was not requeued, or if this process received a stop signal before; CloudsegError if the
    stage failed.
    """
    if stop.requested:
        raise Stopped(f"stopped before stage {stage}; the same command resumes")
    opened = run.open_run(path)
    opened.jobs.mkdir(parents=True, exist_ok=True)
    try:
        _run_attempts(opened, stage, ranks)
    except CloudsegError as error:
        if not isinstance(error, Stopped):
            hook.run(opened, stage, "failed", str(error))
        raise
    hook.run(opened, stage, "done")


def _run_attempts(opened: Run, stage: str, ranks: int | None) -> None:
    """Run attempts until the stage is done. Raises as `run_stage`."""
    in_slurm = ranks is None and "SLURM_JOB_ID" in os.environ
    cloudseg_job = attempt.cloudseg_job(os.environ) if in_slurm else None
    if in_slurm and cloudseg_job is None:
        print(
            "note: cloudseg did not submit this Slurm job, so it does not requeue itself; to allow this in your own "
            f"batch script: export {attempt.JOB_VARIABLE}=$SLURM_JOB_ID",
            file=sys.stderr,
            flush=True,
        )
    while True:
        with stop.deferred():
            outcome = _run_attempt(opened, stage, None if in_slurm else ranks or 1)
        if outcome.how == "done":
            return
        if outcome.how == INTERRUPTED:
            _wait_to_be_killed(outcome.reason)
        if outcome.restart and cloudseg_job:
            requeue(cloudseg_job, outcome.reason)
        if outcome.how == attempt.STOPPED or (outcome.restart and cloudseg_job):
            raise Stopped(f"stage {stage} stopped with its state saved; the same command resumes")
        if not outcome.restart:
            raise CloudsegError(f"stage {stage} failed: {outcome.reason}")
        print(f"stage {stage} resumes from its last checkpoint: {outcome.reason}", file=sys.stderr, flush=True)
        time.sleep(PAUSE_S)


def _run_attempt(opened: Run, stage: str, ranks: int | None) -> Outcome:
    """Start the ranks once, wait for them and record the outcome.

    The ranks are `ranks` processes on this machine, or for None the tasks of this Slurm job.
    """
    attempt.remove_earlier(opened.jobs, os.environ)
    began = time.time()
    before = steps_done(opened, stage)
    current = with_retries(lambda: Attempt.of(opened.jobs, attempt.new_key(os.environ)))
    try:
        module = ["cloudseg.evaluate"] if stage == EVALUATE else ["cloudseg.train", "--stage", stage]
        arguments = ["-m", *module, "--run", str(opened.path)]
        code: int | None
        if ranks is not None:
            code = launcher.local(arguments, ranks, current)
        else:
            code = launcher.srun(arguments, sites.load(None).srun, current.key, _seconds_left())
        ends, reached = current.ends(), current.last_step()
    finally:
        current.remove()
    after = steps_done(opened, stage)
    if code is None:
        outcome = Outcome(attempt.LOST, "the ranks did not exit before the walltime; request more time, or an earlier "
                          "signal")  # fmt: skip
    else:
        # An earlier evaluation may have left its results.
        done = opened.done(stage) is not None and (code == DONE or stage != EVALUATE)
        outcome = restarts.outcome(code, ends, done)
        if ranks is not None and stop.requested and outcome.how != "done":
            outcome = Outcome(attempt.STOPPED, "stopped on a signal")
    if outcome.restart and ranks is None and _is_ending(state := _state()):
        outcome = Outcome(INTERRUPTED, f"Slurm is ending this job ({state})")
    if ranks is None or outcome.how != attempt.STOPPED:  # on this machine, stopped ranks are not started again
        outcome = restarts.limit_attempts(outcome, (before, after), opened.past_attempts(stage))
    restarts.record(opened.attempts(stage), outcome, (before, after), reached, began)
    if code == UsageError.exit_code:
        raise UsageError(f"stage {stage} failed: {outcome.reason}")
    return outcome


def steps_done(opened: Run, stage: str) -> int:
    """Work that the next attempt does not repeat: steps in checkpoints, or files of probability maps (evaluation).

    For a stage that labels pictures, the files of probability maps and the shards count too.
    """
    if stage == EVALUATE:
        return sum(1 for member in opened.members() for _ in member.probabilities.rglob("*.h5"))
    folders = (opened.probabilities, opened.pseudo_labels(stage)) if opened.settings.labels_pictures(stage) else ()
    return opened.saved_step(stage) + sum(1 for folder in folders for _ in folder.rglob("*.h5"))


def requeue(job_id: str, reason: str) -> None:
    """Requeue this job and exit; returns only if Slurm refuses."""
    print(f"job {job_id} is requeued and resumes from its last checkpoint: {reason}", flush=True)
    while True:
        answer = commands.run(["scontrol", "requeue", job_id])
        if answer.returncode == 0:
            _exit_at_once()
        if _is_ending(state := _state()):
            _wait_to_be_killed("")
        print(f"warning: job {job_id} is not requeued: {answer.stderr.strip()}", file=sys.stderr, flush=True)
        if state:
            return
        time.sleep(ASK_AGAIN_S)  # the controller does not answer; it requeues the job itself if this node is down


def _exit_at_once() -> NoReturn:
    """End this process without returning to submitit, which would report the stage as ended.

    Waiting for Slurm's SIGKILL would occupy the nodes for KillWait, 30 seconds by default.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(Stopped.exit_code)


def _wait_to_be_killed(why: str) -> NoReturn:
    """Print the reason `why`, if not empty, and wait until Slurm kills this process. Slurm decides what follows."""
    if why:
        print(f"{why}; all checkpoints are kept", flush=True)
    while True:
        signal.pause()


def _state() -> str:
    """The Slurm state of this job, for example RUNNING or COMPLETING; "" if squeue does not answer."""
    job = attempt.slurm_job(os.environ)
    return commands.query(["squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T"]) or ""


def _is_ending(state: str) -> bool:
    """Whether Slurm is ending a job in this state. States such as SIGNALING or SUSPENDED are temporary."""
    return state == "COMPLETING" or state in queue.ENDED or state in queue.WAITING


def _seconds_left() -> float | None:
    """Seconds until this job must be requeued, which Slurm refuses after the walltime; None without a walltime."""
    job = attempt.slurm_job(os.environ)
    left = durations.seconds(
        commands.query(["squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%L"]) or ""
    )
    return None if left is None else max(1.0, left - script.REQUEUE_LEAD_S)
