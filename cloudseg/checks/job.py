"""doctor's job: starts ranks that run checks, sends them a signal, and requeues itself."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloudseg.core import atomic, attempt
from cloudseg.core.errors import CloudsegError
from cloudseg.job import batch, launcher
from cloudseg.slurm import commands, queue, sbatch, sites
from cloudseg.slurm.script import Job
from cloudseg.slurm.sites import Resources

CHECK_TIMEOUT_S = 300.0
"""Maximum duration of the checks of the ranks."""
SIGNAL_TIMEOUT_S = 60.0
"""Maximum time for a signal to reach the ranks."""
POLL_S = 2.0
ENDED = "ended.json"
WALLTIME = "00:15:00"


def submit(folder: Path, job: Job) -> str:
    """Submit `job`, which writes its measurements into `folder`; returns the job id."""
    command = f"python -u -m cloudseg.doctor --in-job {shlex.quote(str(folder))}"
    return sbatch.submit(dataclasses.replace(job, command=command), folder / "doctor.sbatch")


def wait(folder: Path, number: str, patience_s: float, say: Callable[[str], None]) -> None:
    """Wait until the job has ended; `say` is called with a line for each change of its state.

    Raises CloudsegError, and cancels the job, if it has not ended within `patience_s` seconds.
    """
    deadline, last_state, delayed = time.monotonic() + patience_s, "", False
    while not (folder / ENDED).exists():
        job = (queue.squeue([number]) or {}).get(number)
        state = "" if job is None else queue.reason(job, {}) if job.waiting else job.state.lower()
        if job is not None and not job.active:
            return
        if state and state != last_state:
            say(f"job {number}: {state}")
            last_state = state
        was_delayed, delayed = delayed, job is not None and job.waiting and job.reason.startswith("BeginTime")
        if was_delayed and delayed:  # after POLL_S, because a node refuses a job that it ended within the same second
            commands.run(["scontrol", "update", f"jobid={number}", "StartTime=now"])
        if time.monotonic() > deadline:
            commands.cancel([number])
            raise CloudsegError(
                f"job {number} had not ended after {patience_s / 60:.0f} min and was cancelled: {state or 'unknown'}; "
                f"to wait longer: --wait {max(10, 2 * patience_s / 60):.0f}"
            )
        time.sleep(POLL_S)


def run(folder: Path) -> None:
    """Run the job on its first node: at its first start checks, signal and requeue; then record the second start."""
    if int(os.environ.get("SLURM_RESTART_COUNT", 0)):
        since = (folder / "requeued.json").stat().st_mtime
        atomic.write_json(folder / ENDED, {"requeued_s": time.time() - since})
        return
    arguments = ["-m", "cloudseg.doctor", "--look", str(folder)]
    launcher.srun(arguments, sites.load(None).srun, attempt.new_key(os.environ), CHECK_TIMEOUT_S)
    _send_signal(folder)
    atomic.write_json(folder / "requeued.json", {})
    batch.requeue(str(attempt.cloudseg_job(os.environ)), "doctor tests the requeue")
    atomic.write_json(folder / ENDED, {"requeued_s": None})


def _send_signal(folder: Path) -> None:
    """Start ranks that wait for USR2, and have Slurm send it, as it does before the walltime."""
    arguments = ["-m", "cloudseg.doctor", "--listen", str(folder)]
    command = [*launcher.srun_command(os.environ, sites.load(None).srun), sys.executable, "-u", *arguments]
    process = subprocess.Popen(command, env=commands.step_environment(os.environ))
    ranks = int(os.environ["SLURM_NTASKS"])
    deadline = time.monotonic() + CHECK_TIMEOUT_S
    while len(list(folder.glob("listening-*"))) < ranks and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    (folder / "sent.json").write_text(json.dumps(time.time()))
    commands.run(["scancel", "--signal=USR2", os.environ["SLURM_JOB_ID"]])
    try:
        process.wait(SIGNAL_TIMEOUT_S + 10)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def wait_for_signal(folder: Path) -> None:
    """In a rank: wait for USR2, and write its time (seconds since 1970) to heard-N.json."""
    rank = os.environ["SLURM_PROCID"]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    (folder / f"listening-{rank}").touch()
    if signal.sigtimedwait({signal.SIGUSR2}, SIGNAL_TIMEOUT_S):
        atomic.write_json(folder / f"heard-{rank}.json", time.time())


@dataclasses.dataclass(frozen=True)
class Results:
    """The measurements of doctor's job."""

    ranks: list[dict[str, Any]]
    """One table per rank that finished, see `cloudseg.checks.rank`, sorted by rank."""
    received: dict[str, float]
    """Rank -> seconds until it received the signal."""
    requeued_s: float | None
    """Seconds until the requeued job ran again; None if it did not."""


def results(folder: Path) -> Results:
    """The measurements that the job wrote into `folder`."""
    ranks = sorted((json.loads(path.read_text()) for path in folder.glob("rank-*.json")), key=lambda each: each["rank"])
    sent = json.loads((folder / "sent.json").read_text()) if (folder / "sent.json").exists() else 0.0
    received = {
        path.stem.removeprefix("heard-"): json.loads(path.read_text()) - sent for path in folder.glob("heard-*")
    }
    ended = folder / ENDED
    return Results(ranks, received, json.loads(ended.read_text())["requeued_s"] if ended.exists() else None)


def partition(name: str) -> dict[str, str]:
    """Fields of a partition from scontrol, for example MaxTime and TotalNodes; {} if it does not exist."""
    text = commands.query(["scontrol", "show", "partition", name, "--oneliner"]) or ""
    return dict(part.split("=", 1) for part in text.split() if "=" in part)


def resources(site: sites.Site, changes: Mapping[str, Any]) -> Resources:
    """Resources of doctor's job: those of training with `changes`, for WALLTIME or the partition's limit."""
    need = dataclasses.replace(site.train, **changes)
    limit = site.partitions.get(need.partition, sites.Partition())
    return dataclasses.replace(need, time=sites.shorter(limit.time, WALLTIME))
