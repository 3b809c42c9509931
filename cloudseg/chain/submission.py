"""Queues the chain with submitit; the only module that imports it."""

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
    """submitit with our own sbatch text: the same that people submit by hand.

    The function runs once, in the batch step on the first node, and starts the ranks with srun. So there is one
    pickle a job and one process that knows whether the stage ended, stopped or failed.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        super().__init__(folder, python="python")
        self._job = job

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return script.script(dataclasses.replace(self._job, command=command))

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return commands.without_options(super()._make_submission_command(submission_file_path), os.environ)


def queued(run: Run) -> dict[str, str]:
    """Stage -> job id, of those of this run's jobs that Slurm still holds, pending or running; one that was submitted
    by hand is known once it runs. Raises CloudsegError if Slurm does not answer."""
    holders = {stage: lock.owner(run.lock(stage)) for stage in run.chain}
    by_hand = {stage: holder.job for stage, holder in holders.items() if holder and holder.job}
    if not (ids := run.queued() | by_hand):
        return {}
    active = queue.active(list(ids.values()))
    return {stage: number for stage, number in ids.items() if number in active}


def submit(run: Run, jobs: dict[str, Job], announce: Callable[[str, str], None], after: str = "") -> dict[str, str]:
    """Queue `jobs` (by stage), each after the success of the one before, the first after that of the job `after` if
    there is one; returns stage -> job id.

    Raises CloudsegError with sbatch's own words if it refuses one; what was queued before it is cancelled.
    """
    folder = run.jobs / "submitit"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # jobs unpickle what lies there
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
