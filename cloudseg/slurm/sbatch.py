"""Gives scripts to sbatch."""

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
    """Whether jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None


def require(site: Site) -> None:
    """Say which of the user's variables do not reach sbatch. Raises UsageError, with what to type, where there is no
    sbatch, or no account is named and `site` wants one."""
    if not is_there():
        raise UsageError("--cluster slurm: there is no sbatch on this machine; type: --cluster local")
    sites.require_account(site)
    if ignored := commands.ignored(os.environ):
        print(f"note: {', '.join(ignored)}: not heeded; options and the site file decide", file=sys.stderr)


def submit(job: Job, file: Path) -> str:
    """Write the job's script to `file` and submit it; returns its id. Raises CloudsegError with sbatch's own words if
    it is refused."""
    atomic.write(file, script.script(job).encode())
    answer = commands.run(["sbatch", "--parsable", str(file)])
    if answer.returncode:
        raise CloudsegError(
            f"sbatch refused {file}, so nothing is queued (to run here: --cluster local):\n{answer.stderr.strip()}"
        )
    return answer.stdout.strip().partition(";")[0]
