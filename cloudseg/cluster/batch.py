"""What one batch job of the chain does on its first node: start the ranks, and requeue itself if work is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cloudseg.cluster import sites, steps
from cloudseg.errors import DONE, STOPPED, CloudsegError, Stopped, UsageError
from cloudseg.run import EVALUATE


def run_stage(path: Path, stage: str, ranks: int | None = None) -> None:
    """Run `stage` (or "evaluate") of the run at `path` to its end.

    Its ranks are the tasks of this Slurm job, or `ranks` processes here.
    Raises Stopped if it stopped on a signal and could not be requeued, CloudsegError if it failed.
    """
    module = ["cloudseg.evaluate"] if stage == EVALUATE else ["cloudseg.train", "--stage", stage]
    arguments = ["-m", *module, "--run", str(path)]
    in_slurm = ranks is None and "SLURM_JOB_ID" in os.environ
    code = steps.srun(arguments, sites.load(None).srun) if in_slurm else steps.local(arguments, ranks or 1)
    if code == DONE:
        return
    if code == STOPPED:
        if in_slurm:
            requeue(own_id(os.environ))
        raise Stopped(f"stage {stage} stopped with its state saved; the same command goes on from there")
    error = UsageError if code == UsageError.exit_code else CloudsegError
    raise error(f"stage {stage} failed with exit code {code}; the reason is above")


def own_id(environ: Mapping[str, str]) -> str:
    """This job as scontrol takes it: a task of an array may bear the array's own id, which would name all of them."""
    if "SLURM_ARRAY_TASK_ID" in environ:
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ["SLURM_JOB_ID"]


def requeue(job_id: str) -> None:
    """Put this job back into the queue and wait for Slurm to end us; returns only if Slurm refuses."""
    answer = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True, check=False)
    if answer.returncode:
        print(f"warning: job {job_id} is not requeued: {answer.stderr.strip()}", file=sys.stderr, flush=True)
        return
    print(f"job {job_id} is requeued and goes on from its checkpoint", flush=True)
    while True:  # to return would tell submitit that the stage had ended
        signal.pause()
