"""doctor's job: submitted from the login node, it starts ranks that look around, is sent a signal, requeues itself."""

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

LOOK_S = 300.0
"""How long the ranks may take to look around."""
HEAR_S = 60.0
"""How long a signal may take to reach them."""
POLL_S = 2.0
ENDED = "ended.json"
WALLTIME = "00:15:00"


def submit(folder: Path, job: Job) -> str:
    """Queue the job that looks around and leaves what it saw in `folder`; returns its id."""
    command = f"python -u -m cloudseg.doctor --in-job {shlex.quote(str(folder))}"
    return sbatch.submit(dataclasses.replace(job, command=command), folder / "doctor.sbatch")


def wait(folder: Path, number: str, patience_s: float, say: Callable[[str], None]) -> None:
    """Until the job has ended. Raises CloudsegError, and cancels it, if it has not within `patience_s`."""
    deadline, before, pauses = time.monotonic() + patience_s, "", False
    while not (folder / ENDED).exists():
        job = (queue.squeue([number]) or {}).get(number)
        now = "" if job is None else queue.reason(job, {}) if job.waiting else job.state.lower()
        if job is not None and not job.active:
            return
        if now and now != before:
            say(f"job {number}: {now}")
            before = now
        paused, pauses = pauses, job is not None and job.waiting and job.reason.startswith("BeginTime")
        if paused and pauses:  # for POLL_S: a node refuses a job that it has ended within the same second
            commands.run(["scontrol", "update", f"jobid={number}", "StartTime=now"])
        if time.monotonic() > deadline:
            commands.cancel([number])
            raise CloudsegError(
                f"job {number} had not ended after {patience_s / 60:.0f} min and was cancelled: {now or 'not known'}; "
                f"to wait longer: --wait {max(10, 2 * patience_s / 60):.0f}"
            )
        time.sleep(POLL_S)


def run(folder: Path) -> None:
    """What the job does on its first node: in its first life the ranks look and listen, then it goes back into the
    queue; in its second it says so."""
    if int(os.environ.get("SLURM_RESTART_COUNT", 0)):
        since = (folder / "requeued.json").stat().st_mtime
        atomic.write_json(folder / ENDED, {"requeued_s": time.time() - since})
        return
    _step(folder, "--look", LOOK_S)
    _signalled(folder)
    atomic.write_json(folder / "requeued.json", {})
    batch.requeue(str(attempt.own_job(os.environ)), "doctor wants to see that it can be")
    atomic.write_json(folder / ENDED, {"requeued_s": None})


def _step(folder: Path, option: str, patience_s: float) -> int | None:
    arguments = ["-m", "cloudseg.doctor", option, str(folder)]
    return launcher.srun(arguments, sites.load(None).srun, attempt.new_key(os.environ), patience_s)


def _signalled(folder: Path) -> None:
    """Have ranks wait for USR2, and let Slurm send it as it does before the walltime."""
    arguments = ["-m", "cloudseg.doctor", "--listen", str(folder)]
    command = [*launcher.srun_command(os.environ, sites.load(None).srun), sys.executable, "-u", *arguments]
    process = subprocess.Popen(command, env=commands.step_environment(os.environ))
    ranks = int(os.environ["SLURM_NTASKS"])
    deadline = time.monotonic() + LOOK_S
    while len(list(folder.glob("listening-*"))) < ranks and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    (folder / "sent.json").write_text(json.dumps(time.time()))
    commands.run(["scancel", "--signal=USR2", os.environ["SLURM_JOB_ID"]])
    try:
        process.wait(HEAR_S + 10)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def listen(folder: Path) -> None:
    """What a rank does: wait for USR2, and leave heard-N.json with when it came."""
    rank = os.environ["SLURM_PROCID"]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    (folder / f"listening-{rank}").touch()
    if signal.sigtimedwait({signal.SIGUSR2}, HEAR_S):
        atomic.write_json(folder / f"heard-{rank}.json", time.time())


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a job left."""

    ranks: list[dict[str, Any]]
    heard: dict[str, float]
    """Rank -> seconds after which it heard the signal."""
    requeued_s: float | None


def seen(folder: Path) -> Seen:
    ranks = sorted((json.loads(path.read_text()) for path in folder.glob("rank-*.json")), key=lambda each: each["rank"])
    sent = json.loads((folder / "sent.json").read_text()) if (folder / "sent.json").exists() else 0.0
    heard = {path.stem.removeprefix("heard-"): json.loads(path.read_text()) - sent for path in folder.glob("heard-*")}
    ended = folder / ENDED
    return Seen(ranks, heard, json.loads(ended.read_text())["requeued_s"] if ended.exists() else None)


def partition(name: str) -> dict[str, str]:
    """What Slurm says of a partition, as MaxTime and TotalNodes; nothing if there is none of this name."""
    said = commands.ask(["scontrol", "show", "partition", name, "--oneliner"]) or ""
    return dict(part.split("=", 1) for part in said.split() if "=" in part)


def asked(site: sites.Site, changes: Mapping[str, Any]) -> Resources:
    """What the job asks for: the resources of training, with `changes`, for WALLTIME or the partition's limit."""
    need = dataclasses.replace(site.train, **changes)
    limit = site.partitions.get(need.partition, sites.Partition())
    return dataclasses.replace(need, time=sites.shorter(limit.time, WALLTIME))
