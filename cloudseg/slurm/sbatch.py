"""Submits jobs with sbatch, or asks whether it would accept them."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.slurm import commands, nodes, script, sites
from cloudseg.slurm.script import Job
from cloudseg.slurm.sites import Site


def is_there() -> bool:
    """Whether this machine has sbatch."""
    return shutil.which("sbatch") is not None


def require(site: Site) -> None:
    """Check that jobs can be submitted, and print which SBATCH_ variables of the user are ignored.

    Raises UsageError, with what to type, without sbatch or without an account on a `site` that requires one.
    """
    if not is_there():
        raise UsageError("--cluster slurm: there is no sbatch on this machine; type: --cluster local")
    sites.require_account(site)
    if ignored := commands.ignored(os.environ):
        print(f"note: {', '.join(ignored)}: ignored; options and the site file apply", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What Slurm says of a job that is not submitted."""

    accepted: bool
    said: str
    """Why it is refused; if it is accepted, when it could start, or "" if Slurm does not say."""


def ask(job: Job) -> Answer:
    """Ask Slurm whether it would accept `job`, without its dependency. Nothing is written or submitted.

    Raises CloudsegError if sbatch does not answer.
    """
    text = script.script(dataclasses.replace(job, dependency=""))
    try:
        answer = commands.run(["sbatch", "--test-only"], commands.TIMEOUT_S, text)
    except subprocess.TimeoutExpired:
        raise CloudsegError(f"sbatch does not answer within {commands.TIMEOUT_S:.0f} s") from None
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    if answer.returncode:
        reasons = [line.partition("allocation failure: ")[2] or line for line in lines if line.count(":")]
        reason = (reasons or lines or ["without a reason"])[-1].removeprefix("sbatch: error: ")
        # sbatch without --test-only accepts a job for nodes that are down, and the job waits for them.
        if "node configuration" in reason and (waits := nodes.missing(job.resources)):
            return Answer(True, waits)
        return Answer(False, reason)
    start = re.search(r"to start at (\S+)", answer.stderr)
    return Answer(True, f"could start at {start[1]}" if start else "")


def submit(job: Job, file: Path) -> str:
    """Write the script of `job` to `file` and submit it; returns the job id.

    Raises CloudsegError with sbatch's message if sbatch refuses it.
    """
    atomic.write(file, script.script(job).encode())
    answer = commands.run(["sbatch", "--parsable", str(file)])
    if answer.returncode:
        raise CloudsegError(
            f"sbatch refused {file}, so nothing is queued (to run here: --cluster local):\n{answer.stderr.strip()}"
        )
    return answer.stdout.strip().partition(";")[0]
