"""State of each stage of a run (done, running, queued, failed, lost and so on), from the run's folder and Slurm."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudseg.core import attempt, lock
from cloudseg.core.run import EVALUATE, PREPROCESS, Run
from cloudseg.monitor import progress
from cloudseg.monitor.progress import Progress
from cloudseg.slurm import queue
from cloudseg.slurm.queue import AccountingRecord, QueuedJob

DONE, RUNNING, REQUEUED, QUEUED, STOPPED, FAILED, CANCELLED, LOST, TO_COME = (
    "done", "running", "requeued", "queued", "stopped", "failed", "cancelled", "lost", "to come",
)  # fmt: skip
"""`requeued`: in the queue after an attempt; `stopped`: saved, without a job that resumes it; `lost`: was queued, is
not done, and Slurm does not know the job any more; `to come`: was never queued."""
TROUBLE = (FAILED, CANCELLED, LOST, STOPPED)
"""States in which the user has to act."""


@dataclasses.dataclass(frozen=True)
class StageState:
    """State of one stage."""

    run: Path
    """Folder of the run; for a stage of a cross-validation, of the run of its fold."""
    stage: str
    state: str
    why: str = ""
    """Explanation of the state; "" if it needs none."""
    job: str | None = None
    nodes: str = ""
    restarts: int = 0
    progress: Progress | None = None
    """None for preprocessing and evaluation."""
    walltime_left: str = ""
    gpu_hours: float | None = None
    """GPU hours of all starts of its jobs; None without accounting."""
    queued_s: float | None = None
    """Seconds in the queue when its jobs could have started; None without accounting."""

    @property
    def name(self) -> str:
        """'full', or in a cross-validation 'fold-2 full'."""
        return f"{self.run.name} {self.stage}" if self.run.name.startswith("fold-") else self.stage


@dataclasses.dataclass(frozen=True)
class _Slurm:
    """What Slurm tells about the jobs of a run."""

    jobs: Mapping[str, QueuedJob] | None
    """Jobs that the controller knows; None if it does not answer."""
    accounts: Mapping[str, Sequence[AccountingRecord]]
    """Accounting records by job id."""
    names: Mapping[str, str]
    """Names of jobs in explanations, by job id."""


def all_stages(run: Run) -> list[tuple[Run, str]]:
    """Pairs of (run, stage) in the order in which they run.

    Starts with preprocessing if it was queued; in a cross-validation the stages are those of all folds.
    """
    first = [(run, PREPROCESS)] if PREPROCESS in run.queued() else []
    return [*first, *((member, stage) for member in run.members() for stage in run.settings.stages), (run, EVALUATE)]


def query(run: Run) -> tuple[list[StageState], list[str]]:
    """The states of all stages, and remarks on Slurm commands that do not answer."""
    stages = [(member, stage, job_ids(member, stage)) for member, stage in all_stages(run)]
    all_ids = sorted({number for *_, ids in stages for number in ids})
    controller_jobs, accounts = queue.squeue(all_ids), queue.sacct(all_ids)
    jobs = None if controller_jobs is None else queue.reconciled(controller_jobs, accounts or {})
    remarks = []
    if all_ids and jobs is None:
        remarks.append("squeue does not answer: it is not known what is queued or running")
    if all_ids and accounts is None:
        remarks.append("there is no accounting (sacct): GPU hours and time in the queue are not known")
    # A dependency on an array has the id of the array, without the task.
    names = {part: stage for _, stage, ids in stages if ids for part in (ids[-1], ids[-1].split("_")[0])}
    slurm, states = _Slurm(jobs, accounts or {}, names), []
    for member, stage, ids in stages:
        state_of = _preprocessing_state if stage == PREPROCESS else _stage_state
        found = state_of(member, stage, ids, slurm)
        states.append(dataclasses.replace(found, **_costs(accounts, ids)))
    return states, remarks


def job_ids(run: Run, stage: str) -> list[str]:
    """Ids of the jobs of a stage, the latest last: the queued one, and those that have attempted the stage."""
    queued, holder = run.queued(), lock.owner(run.lock(stage))
    numbers = {str(end["job"]) for end in run.past_attempts(stage) if end.get("job")}
    if stage in queued:
        numbers.add(queued[stage])
    if holder and holder.job:
        numbers.add(holder.job)
    return sorted(numbers, key=lambda number: [int(part) for part in number.split("_")])


def _stage_state(run: Run, stage: str, ids: Sequence[str], slurm: _Slurm) -> StageState:
    """The state of a stage or of the evaluation; `ids` are its job ids."""
    attempts, job_id = run.past_attempts(stage), _current_job(ids, slurm.jobs or {})
    at = None if stage == EVALUATE else progress.read(run, stage)
    preparation = at.preparation if at else ""
    restarts = sum(end["how"] != "done" for end in attempts)
    found = StageState(run.path, stage, TO_COME, job=job_id, restarts=restarts, progress=at)

    def state(name: str, why: str = "", **more: Any) -> StageState:
        return dataclasses.replace(found, state=name, why=why, **more)

    if run.done(stage) is not None:
        return state(DONE)
    job = (slurm.jobs or {}).get(job_id or "")
    if job and job.running:
        return state(RUNNING, queue.remark(job) or preparation, nodes=job.nodes, walltime_left=job.left)
    if job and job.waiting:
        has_run = any(end.get("job") == job_id for end in attempts)
        return state(REQUEUED if has_run else QUEUED, queue.reason(job, slurm.names))
    holder = lock.owner(run.lock(stage))
    if holder and not holder.job and holder.has_ended() is False:
        return state(RUNNING, preparation, nodes=holder.host)
    last = attempts[-1] if attempts else None
    if last and last["how"] == attempt.FAILED and (last.get("job") == job_id or job_id is None):
        return state(FAILED, last["reason"])
    records = slurm.accounts.get(job_id or "", ())
    ended = job.state if job else records[-1].state if records else ""
    if ended == "CANCELLED":
        return state(CANCELLED, "cancelled, or a job that it depends on failed")
    if ended == "COMPLETED" and run.done_file(stage).exists():
        return state(TO_COME, "the existing evaluation is of an earlier stage")
    if ended == "COMPLETED":
        return state(FAILED, "its job ended without finishing the stage")
    if ended in queue.ENDED:
        return state(FAILED, f"Slurm ended its job: {ended}")
    if job_id and slurm.jobs is not None:
        return state(LOST, "Slurm does not know its job any more, and the stage is not done")
    if last:
        return state(STOPPED, last["reason"] or "its state is saved")
    return found


def _current_job(ids: Sequence[str], jobs: Mapping[str, QueuedJob]) -> str | None:
    """The id of the running job of a stage, else of the latest; a later job may have found the stage lease held."""
    running = [number for number in ids if number in jobs and jobs[number].running]
    return running[-1] if running else ids[-1] if ids else None


def _preprocessing_state(run: Run, stage: str, ids: Sequence[str], slurm: _Slurm) -> StageState:
    """The state of the preprocessing array; `ids` are its job ids."""
    array = ids[-1]
    found = StageState(run.path, stage, LOST, job=array)
    if run.has_data():
        return dataclasses.replace(found, state=DONE)
    tasks = {number: job for number, job in (slurm.jobs or {}).items() if number.split("_")[0] == array}
    active = [job for job in tasks.values() if job.active]
    if running := [job for job in active if job.running]:
        why = f"{len(running)} tasks are running, {len(active) - len(running)} are waiting"
        return dataclasses.replace(found, state=RUNNING, why=why)
    if active:
        return dataclasses.replace(found, state=QUEUED, why=queue.reason(active[0], slurm.names))
    ended = {number: records[-1].state for number, records in slurm.accounts.items() if number.split("_")[0] == array}
    ended |= {number: job.state for number, job in tasks.items()}
    if failed := sorted(number.partition("_")[2] for number, how in ended.items() if how != "COMPLETED"):
        return dataclasses.replace(found, state=FAILED, why=f"tasks {', '.join(failed)} failed")
    return dataclasses.replace(found, why="Slurm does not know its job any more, and there is no manifest")


def _costs(accounts: Mapping[str, Sequence[AccountingRecord]] | None, ids: Sequence[str]) -> dict[str, Any]:
    """GPU hours and queue time of all starts of the jobs `ids`; {} without accounting."""
    if accounts is None:
        return {}
    records = [record for number in ids for record in accounts.get(number, ())]
    return {
        "gpu_hours": sum(record.seconds * record.gpus for record in records) / 3600,
        "queued_s": sum(record.queued_s for record in records),
    }
