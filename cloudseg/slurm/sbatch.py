"""Submits jobs with sbatch."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.slurm import commands, script, sites
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
