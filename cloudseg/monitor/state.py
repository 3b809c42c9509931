"""What each stage of a run is at: done, running, waiting, failed or lost; from the run's folder and what Slurm says."""

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
from cloudseg.slurm.queue import Account, Queued

DONE, RUNNING, REQUEUED, QUEUED, STOPPED, FAILED, CANCELLED, LOST, TO_COME = (
    "done", "running", "requeued", "queued", "stopped", "failed", "cancelled", "lost", "to come",
)  # fmt: skip
"""`requeued`: waits in the queue after it has run; `stopped`: saved, and nobody goes on; `lost`: was queued, is not
done, and Slurm does not know it any more; `to come`: was never queued."""
TROUBLE = (FAILED, CANCELLED, LOST, STOPPED)


@dataclasses.dataclass(frozen=True)
class StageState:
    run: Path
    """The run that the stage is of: of a cross-validation a fold's."""
    stage: str
    state: str
    why: str = ""
    """Of a state that is not what one hopes for, in words."""
    job: str | None = None
    nodes: str = ""
    restarts: int = 0
    progress: Progress | None = None
    """None of the evaluation."""
    walltime_left: str = ""
    gpu_hours: float | None = None
    """Of all its tries; None without accounting, as `queued_s`."""
    queued_s: float | None = None
    """In the queue when it could have started."""

    @property
    def name(self) -> str:
        """'full', or of a cross-validation 'fold-2 full'."""
        return f"{self.run.name} {self.stage}" if self.run.name.startswith("fold-") else self.stage


def parts(run: Run) -> list[tuple[Run, str]]:
    """Every stage and whose it is, in the order in which they run: preprocessing if it was queued; of a
    cross-validation those of all folds, and the evaluation of the whole."""
    head = [(run, PREPROCESS)] if PREPROCESS in run.queued() else []
    return [*head, *((member, stage) for member in run.members() for stage in run.settings.stages), (run, EVALUATE)]


def look(run: Run) -> tuple[list[StageState], list[str]]:
    """The states of all stages, and remarks on what could not be asked."""
    ids = [(member, stage, job_ids(member, stage)) for member, stage in parts(run)]
    known = sorted({number for *_, numbers in ids for number in numbers})
    found_jobs, accounts = queue.squeue(known), queue.sacct(known)
    jobs = None if found_jobs is None else queue.reconciled(found_jobs, accounts or {})
    remarks = []
    if known and jobs is None:
        remarks.append("squeue does not answer: what is queued or running is not known")
    if known and accounts is None:
        remarks.append("there is no accounting (sacct): hours and time in the queue are not known")
    # Arrays are waited for by their own number.
    names = {part: stage for _, stage, numbers in ids if numbers for part in (numbers[-1], numbers[-1].split("_")[0])}
    states = []
    for member, stage, numbers in ids:
        judge = _head if stage == PREPROCESS else _state
        found = judge(member, stage, numbers, jobs, accounts or {}, names)
        states.append(dataclasses.replace(found, **_costs(accounts, numbers)))
    return states, remarks


def job_ids(run: Run, stage: str) -> list[str]:
    """The jobs of a stage, the latest last: the one that the launcher queued, and those that worked on it."""
    queued, holder = run.queued(), lock.owner(run.lock(stage))
    numbers = {str(end["job"]) for end in run.past_attempts(stage) if end.get("job")}
    if stage in queued:
        numbers.add(queued[stage])
    if holder and holder.job:
        numbers.add(holder.job)
    return sorted(numbers, key=lambda number: [int(part) for part in number.split("_")])


def _state(
    run: Run,
    stage: str,
    ids: Sequence[str],
    jobs: Mapping[str, Queued] | None,
    accounts: Mapping[str, Sequence[Account]],
    names: dict[str, str],
) -> StageState:
    tries, own = run.past_attempts(stage), _current(ids, jobs or {})
    at = None if stage == EVALUATE else progress.read(run, stage)
    restarts = sum(end["how"] != "done" for end in tries)
    found = StageState(run.path, stage, TO_COME, job=own, restarts=restarts, progress=at)

    def state(name: str, why: str = "", **more: Any) -> StageState:
        return dataclasses.replace(found, state=name, why=why, **more)

    if run.done(stage) is not None:
        return state(DONE)
    job = (jobs or {}).get(own or "")
    if job and job.running:
        return state(RUNNING, queue.remark(job), nodes=job.nodes, walltime_left=job.left)
    if job and job.waiting:
        return state(REQUEUED if any(end.get("job") == own for end in tries) else QUEUED, queue.reason(job, names))
    holder = lock.owner(run.lock(stage))
    if holder and not holder.job and holder.gone() is False:
        return state(RUNNING, nodes=holder.host)
    last = tries[-1] if tries else None
    if last and last["how"] == attempt.FAILED and (last.get("job") == own or own is None):
        return state(FAILED, last["reason"])
    ended = job.state if job else accounts[own][-1].state if own and accounts.get(own) else ""
    if ended == "CANCELLED":
        return state(CANCELLED, "cancelled, or what it waited for failed")
    if ended == "COMPLETED" and run.done_file(stage).exists():
        return state(TO_COME, "what is there is of an earlier stage")
    if ended == "COMPLETED":
        return state(FAILED, "its job ended without having finished it")
    if ended in queue.ENDED:
        return state(FAILED, f"Slurm ended its job: {ended}")
    if own and jobs is not None:
        return state(LOST, "Slurm does not know its job any more, and it is not done")
    if last:
        return state(STOPPED, last["reason"] or "its state is saved")
    return found


def _current(ids: Sequence[str], jobs: Mapping[str, Queued]) -> str | None:
    """The job that has the stage: the one that runs, as a later one may have been refused, else the latest."""
    running = [number for number in ids if number in jobs and jobs[number].running]
    return running[-1] if running else ids[-1] if ids else None


def _head(
    run: Run,
    stage: str,
    ids: Sequence[str],
    jobs: Mapping[str, Queued] | None,
    accounts: Mapping[str, Sequence[Account]],
    names: dict[str, str],
) -> StageState:
    """Of the array that makes the shards."""
    own = ids[-1]
    found = StageState(run.path, stage, LOST, job=own)
    if run.has_data():
        return dataclasses.replace(found, state=DONE)
    tasks = {number: job for number, job in (jobs or {}).items() if number.split("_")[0] == own}
    held = [job for job in tasks.values() if job.active]
    if running := [job for job in held if job.running]:
        why = f"{len(running)} tasks run, {len(held) - len(running)} wait"
        return dataclasses.replace(found, state=RUNNING, why=why)
    if held:
        return dataclasses.replace(found, state=QUEUED, why=queue.reason(held[0], names))
    ended = {number: tries[-1].state for number, tries in accounts.items() if number.split("_")[0] == own}
    ended |= {number: job.state for number, job in tasks.items()}
    if bad := sorted(number.partition("_")[2] for number, how in ended.items() if how != "COMPLETED"):
        return dataclasses.replace(found, state=FAILED, why=f"tasks {', '.join(bad)} did not end well")
    return dataclasses.replace(found, why="Slurm does not know its job any more, and there is no manifest")


def _costs(accounts: Mapping[str, Sequence[Account]] | None, ids: Sequence[str]) -> dict[str, Any]:
    """What all tries of a stage's jobs took."""
    if accounts is None:
        return {}
    tries = [each for number in ids for each in accounts.get(number, ())]
    return {
        "gpu_hours": sum(each.seconds * each.gpus for each in tries) / 3600,
        "queued_s": sum(each.queued_s for each in tries),
    }
