"""Gives scripts to sbatch."""

from __future__ import annotations

from pathlib import Path

from cloudseg import atomic
from cloudseg.cluster import commands, slurm
from cloudseg.cluster.slurm import Job
from cloudseg.errors import CloudsegError


def submit(job: Job, file: Path) -> str:
    """Write the job's script to `file` and submit it; returns its id. Raises CloudsegError with sbatch's own words if
    it is refused."""
    atomic.write(file, slurm.script(job).encode())
    answer = commands.run(["sbatch", "--parsable", str(file)])
    if answer.returncode:
        raise CloudsegError(
            f"sbatch refused {file}, so nothing is queued (to run here: --cluster local):\n{answer.stderr.strip()}"
        )
    return answer.stdout.strip().partition(";")[0]
