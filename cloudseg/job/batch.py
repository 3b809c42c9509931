"""What one batch job of the chain does on its first node: start the ranks, and have the stage go on if work is left.

A stage that stopped on a signal or lost a rank goes on: a Slurm job requeues itself, elsewhere the ranks are started
again. It has failed if a rank says so, or if it got no further twice in a row.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from cloudseg.core import attempt, run
from cloudseg.core.atomic import patiently
from cloudseg.core.attempt import Attempt
from cloudseg.core.errors import DONE, CloudsegError, Stopped, UsageError
from cloudseg.core.run import EVALUATE, Run
from cloudseg.core.signals import stop
from cloudseg.job import hook, launcher, restarts
from cloudseg.job.restarts import INTERRUPTED, Outcome
from cloudseg.slurm import commands, durations, queue, script, sites

PAUSE_S = 2.0
"""Before ranks that were lost are started again on this machine."""

ASK_AGAIN_S = 10.0
"""Between two tries to reach Slurm's controller."""


def run_stage(path: Path, stage: str, ranks: int | None = None) -> None:
    """Run `stage` (or "evaluate") of the run at `path` to its end.

    Its ranks are the tasks of this Slurm job, or `ranks` processes here. Then comes the user's hook, if there is one.
    Raises Stopped if it stopped on a signal and could not be requeued, or if this process was asked to stop before;
    CloudsegError if it failed.
    """
    if stop.asked:
        raise Stopped(f"stopped before stage {stage}; the same command goes on from there")
    opened = run.open_run(path)
    opened.jobs.mkdir(parents=True, exist_ok=True)
    try:
        _until_it_ends(opened, stage, ranks)
    except CloudsegError as error:
        if not isinstance(error, Stopped):
            hook.run(opened, stage, "failed", str(error))
        raise
    hook.run(opened, stage, "done")


def _until_it_ends(opened: Run, stage: str, ranks: int | None) -> None:
    in_slurm = ranks is None and "SLURM_JOB_ID" in os.environ
    own_job = attempt.own_job(os.environ) if in_slurm else None
    if in_slurm and own_job is None:
        print(
            "note: this Slurm job was not submitted by cloudseg, so it does not requeue itself; a batch script of your "
            f"own says that it may: export {attempt.OWN_JOB}=$SLURM_JOB_ID",
            file=sys.stderr,
            flush=True,
        )
    while True:
        with stop.noted():
            ended = _try(opened, stage, None if in_slurm else ranks or 1)
        if ended.how == "done":
            return
        if ended.how == INTERRUPTED:
            _wait_for_the_end(ended.reason)
        if ended.again and own_job:
            requeue(own_job, ended.reason)
        if ended.how == attempt.STOPPED or (ended.again and own_job):
            raise Stopped(f"stage {stage} stopped with its state saved; the same command goes on from there")
        if not ended.again:
            raise CloudsegError(f"stage {stage} failed: {ended.reason}")
        print(f"stage {stage} goes on from its last checkpoint: {ended.reason}", file=sys.stderr, flush=True)
        time.sleep(PAUSE_S)


def _try(opened: Run, stage: str, ranks: int | None) -> Outcome:
    """Start the ranks once and wait for them; `ranks` processes here, or the tasks of this Slurm job."""
    attempt.remove_earlier(opened.jobs, os.environ)
    began = time.time()
    before = steps_done(opened, stage)
    meeting = patiently(lambda: Attempt.of(opened.jobs, attempt.new_key(os.environ)))
    try:
        module = ["cloudseg.evaluate"] if stage == EVALUATE else ["cloudseg.train", "--stage", stage]
        arguments = ["-m", *module, "--run", str(opened.path)]
        code: int | None
        if ranks is not None:
            code = launcher.local(arguments, ranks, meeting)
        else:
            code = launcher.srun(arguments, sites.load(None).srun, meeting.key, _seconds_left())
        ends, reached = meeting.ends(), meeting.reached()
    finally:
        meeting.remove()
    after = steps_done(opened, stage)
    if code is None:
        ended = Outcome(attempt.LOST, "the walltime came before the ranks had left; ask for more time, or an earlier "
                        "signal")  # fmt: skip
    else:
        # There may be results of an evaluation from before.
        done = opened.done(stage) is not None and (code == DONE or stage != EVALUATE)
        ended = restarts.outcome(code, ends, done)
        if ranks is not None and stop.asked and ended.how != "done":
            ended = Outcome(attempt.STOPPED, "stopped on a signal")
    if ended.again and ranks is None and _is_ending(state := _state()):
        ended = Outcome(INTERRUPTED, f"Slurm is ending this job ({state})")
    if ranks is None or ended.how != attempt.STOPPED:  # nothing starts it again here
        ended = restarts.limited(ended, (before, after), opened.past_attempts(stage))
    restarts.record(opened.attempts(stage), ended, (before, after), reached, began)
    if code == UsageError.exit_code:
        raise UsageError(f"stage {stage} failed: {ended.reason}")
    return ended


def steps_done(opened: Run, stage: str) -> int:
    """What a further try need not do: steps in checkpoints; of the evaluation, files of probabilities."""
    if stage == EVALUATE:
        return sum(1 for member in opened.members() for _ in member.probabilities.rglob("*.h5"))
    return opened.saved_step(stage)


def requeue(job_id: str, reason: str) -> None:
    """Put this job back into the queue and leave it; returns only if Slurm refuses."""
    print(f"job {job_id} is requeued and goes on from its checkpoint: {reason}", flush=True)
    while True:
        answer = commands.run(["scontrol", "requeue", job_id])
        if answer.returncode == 0:
            _leave()
        if _is_ending(state := _state()):
            _wait_for_the_end("")
        print(f"warning: job {job_id} is not requeued: {answer.stderr.strip()}", file=sys.stderr, flush=True)
        if state:
            return
        time.sleep(ASK_AGAIN_S)  # the controller does not answer; if this node was cut off, it will know what to do


def _leave() -> NoReturn:
    """End this process here: to return would tell submitit that the stage had ended, and to wait for Slurm's SIGKILL
    would keep the nodes for KillWait, 30 seconds by default."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(Stopped.exit_code)


def _wait_for_the_end(why: str) -> NoReturn:
    """Wait until Slurm kills this process: it alone knows how this job goes on."""
    if why:
        print(f"{why}; what is saved is saved", flush=True)
    while True:
        signal.pause()


def _state() -> str:
    """The state of this job as Slurm sees it, as RUNNING or COMPLETING; "" if it does not answer."""
    job = attempt.this_job(os.environ)
    return commands.ask(["squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T"]) or ""


def _is_ending(state: str) -> bool:
    """Whether Slurm has begun to end a job that is in this state. Others, as SIGNALING or SUSPENDED, pass."""
    return state == "COMPLETING" or state in queue.ENDED or state in queue.WAITING


def _seconds_left() -> float | None:
    """Until this job must be back in the queue, as after its walltime it would not get there; None for ever."""
    job = attempt.this_job(os.environ)
    left = durations.seconds(
        commands.ask(["squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%L"]) or ""
    )
    return None if left is None else max(1.0, left - script.REQUEUE_LEAD_S)
