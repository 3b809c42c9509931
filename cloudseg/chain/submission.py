"""Submits a chain of jobs with submitit. No other module imports submitit."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import submitit

from cloudseg.core import lock
from cloudseg.core.atomic import write_json
from cloudseg.core.errors import CloudsegError
from cloudseg.core.run import Run
from cloudseg.job import batch
from cloudseg.slurm import commands, queue, script
from cloudseg.slurm.script import Job


class _Executor(submitit.SlurmExecutor):
    """submitit's executor with the sbatch script of cloudseg.

    The function runs once, in the batch step on the first node, and starts the ranks with srun. So there is one pickle
    per job, and one process that decides whether the stage is done, stopped or failed.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        super().__init__(folder, python="python")
        self._job = job

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return script.script(dataclasses.replace(self._job, command=command))

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return commands.without_options(super()._make_submission_command(submission_file_path), os.environ)


def queued(run: Run) -> dict[str, str]:
    """Stage -> id of its job that is pending or running.

    A job that the user submitted with sbatch is known once it runs, from the owner of the stage lease. Raises
    CloudsegError if squeue does not answer.
    """
    owners = {stage: lock.owner(run.lock(stage)) for stage in run.chain}
    running = {stage: owner.job for stage, owner in owners.items() if owner and owner.job}
    if not (ids := run.queued() | running):
        return {}
    active = queue.active(list(ids.values()))
    return {stage: number for stage, number in ids.items() if number in active}


def submit(run: Run, jobs: dict[str, Job], announce: Callable[[str, str], None], after: str = "") -> dict[str, str]:
    """Submit `jobs` (stage -> job), each after the success of the one before; returns stage -> job id.

    The first starts after the success of the job `after`, if there is one. Raises CloudsegError with sbatch's message
    if it refuses a job; the jobs submitted before are cancelled.
    """
    folder = run.jobs / "submitit"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # jobs unpickle files in it
    ids: dict[str, str] = {}
    before, earlier = script.afterok(after) if after else "", run.queued()
    for stage, job in jobs.items():
        executor = _Executor(folder, dataclasses.replace(job, dependency=before))
        try:
            submitted = executor.submit(batch.run_stage, run.path, stage)
        except submitit.core.utils.FailedJobError as error:
            commands.cancel([*filter(None, [after]), *ids.values()])
            raise CloudsegError(
                f"sbatch refused the job of stage {stage}, so none is queued (to run here: --cluster local):\n{error}"
            ) from None
        ids[stage] = submitted.job_id
        write_json(run.jobs / "queued.json", earlier | ids)
        before = script.afterok(submitted.job_id)
        announce(stage, submitted.job_id)
    return ids
