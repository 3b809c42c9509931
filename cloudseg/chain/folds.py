"""Jobs of a cross-validation: one run per fold, whose stages are tasks of Slurm arrays, and one evaluation at the end.

The evaluation scores each image with the run that did not train on it. `parent` is the run of the cross-validation.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cloudseg.chain import begin
from cloudseg.core import atomic, config, run
from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.core.run import EVALUATE, Run
from cloudseg.slurm import commands, queue, sbatch, script
from cloudseg.slurm.script import Job

TASK = "$SLURM_ARRAY_TASK_ID"


def parse(text: str) -> tuple[int, ...]:
    """'0-4' or '0,2,3' -> fold numbers. Raises UsageError for other text."""
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        folds = tuple(range(int(match[1]), int(match[2]) + 1))
    else:
        folds = tuple(int(part) for part in text.split(",")) if re.fullmatch(r"\d+(,\d+)*", text) else ()
    if not folds:
        raise UsageError(f"--folds {text}: type, for example: --folds 0-4, or: --folds 0,2")
    return folds


def prepare(parent: Run, data_to_come: bool) -> tuple[Run, ...]:
    """The runs of the folds, created if they do not exist, else compared with `parent` (see `begin.run`)."""
    table, file = config.to_table(parent.settings), parent.path / "run.toml"
    table.pop("folds")
    for fold in parent.settings.folds:
        given = (str(file), {**table, "fold": fold})
        advice = f"make it equal to {file}, or start another cross-validation: {parent.relaunch()}"
        begin.run(parent.member(fold), [given], data_to_come, advice)
    return parent.members()


@dataclasses.dataclass(frozen=True)
class Group:
    """Folds with the same remaining stages."""

    folds: tuple[int, ...]
    stages: tuple[str, ...]


def groups(remaining: Mapping[int, Sequence[str]]) -> list[Group]:
    """Folds grouped by their `remaining` stages; a fold without remaining stages is in no group."""
    folds_by_stages: dict[tuple[str, ...], list[int]] = {}
    for fold, stages in remaining.items():
        if stages:
            folds_by_stages.setdefault(tuple(stages), []).append(fold)
    return [Group(tuple(folds), stages) for stages, folds in folds_by_stages.items()]


def _array_job(parent: Path, folds: Sequence[int], job: Job, before: str, after: str) -> Job:
    """`job` of a stage as an array with one task per fold.

    Each task waits for the task of its fold in the array `before`; without it, all tasks wait for the job `after`.
    """
    stage, first = job.name, script.afterok(after) if after else ""
    return dataclasses.replace(
        job,
        # The folder is quoted for the shell; the shell replaces the variable with the task id.
        command=f'python -u -m cloudseg.job --run {shlex.quote(f"{parent}/fold-")}"{TASK}" --stage {stage}',
        log=str(run.jobs_folder(parent / "fold-%a") / f"{stage}.log"),
        array=",".join(map(str, folds)),
        dependency=f"aftercorr:{before}" if before else first,
    )


def _evaluation_job(parent: Path, job: Job, after: Sequence[str]) -> Job:
    """`job` of the evaluation, to start when all of `after` (ids of jobs or tasks) have succeeded."""
    return dataclasses.replace(
        job,
        command=f"python -u -m cloudseg.job --run {shlex.quote(str(parent))} --stage {EVALUATE}",
        dependency=f"afterok:{':'.join(after)}" if after else "",
    )


def scripts(
    parent: Path, remaining: Mapping[int, Sequence[str]], jobs: Mapping[str, Job], after: str
) -> Iterator[tuple[str, Job]]:
    """The jobs that `submit` would submit, as pairs of (title, job): arrays, and the evaluation if it is in `jobs`."""
    last = []
    for number, group in enumerate(groups(remaining), 1):
        before = ""
        for stage in group.stages:
            title = f"stage {stage} of folds {', '.join(map(str, group.folds))}"
            yield title, _array_job(parent, group.folds, jobs[stage], before, after)
            before = f"JOB_ID_OF_{stage.upper()}" + (f"_{number}" if number > 1 else "")
        last.append(before)
    if EVALUATE in jobs:
        yield "the evaluation of all folds", _evaluation_job(parent, jobs[EVALUATE], last)


def active(parent: Run) -> dict[int | None, dict[str, str]]:
    """Fold -> stage -> job id, for jobs that have not ended; the key None has the evaluation.

    Raises CloudsegError if squeue does not answer.
    """
    queued: dict[int | None, dict[str, str]] = {None: parent.queued()}
    queued |= {member.settings.fold: member.queued() for member in parent.members()}
    jobs = queue.active([number for ids in queued.values() for number in ids.values()])
    return {fold: {stage: number for stage, number in ids.items() if number in jobs} for fold, ids in queued.items()}


def submit(
    parent: Run,
    remaining: Mapping[int, Sequence[str]],
    jobs: Mapping[str, Job],
    announce: Callable[[str, Job, str], None],
    after: str = "",
) -> None:
    """Submit the `remaining` stages of each fold, and the evaluation if it is in `jobs`.

    The first stages start after the success of the job `after`, if there is one; the evaluation after all stages,
    including those of other folds that are queued already. `announce` is called with (title, job, id) for each job.

    Raises CloudsegError with sbatch's message if it refuses a job; the jobs submitted before are cancelled.
    """
    members = {member.settings.fold: member for member in parent.members()}
    queued = active(parent)
    last = [list(queued[fold].values())[-1] for fold in members if queued[fold] and fold not in remaining]
    submitted = [after] if after else []
    try:
        for number, group in enumerate(groups(remaining), 1):
            before = ""
            for stage in group.stages:
                for fold in group.folds:
                    members[fold].jobs.mkdir(parents=True, exist_ok=True)  # folder of the log
                job = _array_job(parent.path, group.folds, jobs[stage], before, after)
                before = sbatch.submit(job, parent.jobs / f"{stage}-{number}.sbatch")
                submitted.append(before)
                for fold in group.folds:
                    _record(members[fold], stage, f"{before}_{fold}")
                announce(f"{stage} of folds {', '.join(map(str, group.folds))}", job, before)
            last.append(before)
        if EVALUATE in jobs:
            job = _evaluation_job(parent.path, jobs[EVALUATE], last)
            submitted.append(sbatch.submit(job, parent.jobs / f"{EVALUATE}.sbatch"))
            _record(parent, EVALUATE, submitted[-1])
            announce(EVALUATE, job, submitted[-1])
    except CloudsegError:
        commands.cancel(submitted)
        raise
    if old := queued[None].get(EVALUATE):  # it does not wait for the new stages
        commands.cancel([old])


def _record(owner: Run, stage: str, job_id: str) -> None:
    """Write the id of a submitted job to queued.json of the run `owner`."""
    atomic.write_json(owner.jobs / "queued.json", {**owner.queued(), stage: job_id})
