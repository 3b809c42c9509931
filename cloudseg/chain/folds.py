"""A cross-validation: an ordinary run for each fold, whose stages are tasks of Slurm arrays, and a job at the end that
judges all of them as one, each image by the run that did not train on it."""

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
    """'0-4' or '0,2,3' -> the folds. Raises UsageError for anything else."""
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        folds = tuple(range(int(match[1]), int(match[2]) + 1))
    else:
        folds = tuple(int(part) for part in text.split(",")) if re.fullmatch(r"\d+(,\d+)*", text) else ()
    if not folds:
        raise UsageError(f"--folds {text}: type, for example: --folds 0-4, or: --folds 0,2")
    return folds


def prepare(whole: Run, data_to_come: bool) -> tuple[Run, ...]:
    """The runs of the folds: made if they are not there, else compared with the whole, as `begin.run` does."""
    table, file = config.to_table(whole.settings), whole.path / "run.toml"
    table.pop("folds")
    for fold in whole.settings.folds:
        given = (str(file), {**table, "fold": fold})
        advice = f"{file} has these: make the two agree, or begin another cross-validation: {whole.relaunch()}"
        begin.run(whole.member(fold), [given], data_to_come, advice)
    return whole.members()


@dataclasses.dataclass(frozen=True)
class Group:
    """Folds of which the same stages are left."""

    folds: tuple[int, ...]
    stages: tuple[str, ...]


def groups(left: Mapping[int, Sequence[str]]) -> list[Group]:
    """Folds by what is left of each; those of which nothing is left are in no group."""
    found: dict[tuple[str, ...], list[int]] = {}
    for fold, stages in left.items():
        if stages:
            found.setdefault(tuple(stages), []).append(fold)
    return [Group(tuple(folds), stages) for stages, folds in found.items()]


def _array(whole: Path, folds: Sequence[int], job: Job, before: str, after: str) -> Job:
    """A stage's job as an array with a task a fold; each waits for the same fold's task of the array `before`, or, in
    the first array, all wait for the job `after`."""
    stage, first = job.name, script.afterok(after) if after else ""
    return dataclasses.replace(
        job,
        # The folder is quoted for the shell; the task's number is the shell's to fill in.
        command=f'python -u -m cloudseg.job --run {shlex.quote(f"{whole}/fold-")}"{TASK}" --stage {stage}',
        log=str(run.jobs_folder(whole / "fold-%a") / f"{stage}.log"),
        array=",".join(map(str, folds)),
        dependency=f"aftercorr:{before}" if before else first,
    )


def _judge(whole: Path, job: Job, after: Sequence[str]) -> Job:
    """The evaluation's job, once `after`, jobs or tasks, have all succeeded."""
    return dataclasses.replace(
        job,
        command=f"python -u -m cloudseg.job --run {shlex.quote(str(whole))} --stage {EVALUATE}",
        dependency=f"afterok:{':'.join(after)}" if after else "",
    )


def scripts(
    whole: Path, left: Mapping[int, Sequence[str]], jobs: Mapping[str, Job], after: str
) -> Iterator[tuple[str, Job]]:
    """What `submit` would, with a title each: arrays, and the evaluation if it is among `jobs`."""
    last = []
    for number, group in enumerate(groups(left), 1):
        before = ""
        for stage in group.stages:
            title = f"stage {stage} of folds {', '.join(map(str, group.folds))}"
            yield title, _array(whole, group.folds, jobs[stage], before, after)
            before = f"JOB_ID_OF_{stage.upper()}" + (f"_{number}" if number > 1 else "")
        last.append(before)
    if EVALUATE in jobs:
        yield "the evaluation of all folds", _judge(whole, jobs[EVALUATE], last)


def active(whole: Run) -> dict[int | None, dict[str, str]]:
    """Fold -> stage -> job, of those that Slurm still holds; the evaluation's is under None.

    Raises CloudsegError if Slurm does not answer.
    """
    queued: dict[int | None, dict[str, str]] = {None: whole.queued()}
    queued |= {member.settings.fold: member.queued() for member in whole.members()}
    held = queue.active([number for ids in queued.values() for number in ids.values()])
    return {fold: {stage: number for stage, number in ids.items() if number in held} for fold, ids in queued.items()}


def submit(
    whole: Run,
    left: Mapping[int, Sequence[str]],
    jobs: Mapping[str, Job],
    announce: Callable[[str, Job, str], None],
    after: str = "",
) -> None:
    """Queue the stages that are `left` of each fold once the job `after`, if there is one, has succeeded; and the
    evaluation, if it is among `jobs`, after them and after what other folds have in the queue already.

    Raises CloudsegError with sbatch's own words if it refuses one; what was queued before it is cancelled.
    """
    members = {member.settings.fold: member for member in whole.members()}
    held = active(whole)
    last = [list(held[fold].values())[-1] for fold in members if held[fold] and fold not in left]
    submitted = [after] if after else []
    try:
        for number, group in enumerate(groups(left), 1):
            before = ""
            for stage in group.stages:
                for fold in group.folds:
                    members[fold].jobs.mkdir(parents=True, exist_ok=True)  # where the log goes
                job = _array(whole.path, group.folds, jobs[stage], before, after)
                before = sbatch.submit(job, whole.jobs / f"{stage}-{number}.sbatch")
                submitted.append(before)
                for fold in group.folds:
                    _note(members[fold], stage, f"{before}_{fold}")
                announce(f"{stage} of folds {', '.join(map(str, group.folds))}", job, before)
            last.append(before)
        if EVALUATE in jobs:
            job = _judge(whole.path, jobs[EVALUATE], last)
            submitted.append(sbatch.submit(job, whole.jobs / f"{EVALUATE}.sbatch"))
            _note(whole, EVALUATE, submitted[-1])
            announce(EVALUATE, job, submitted[-1])
    except CloudsegError:
        commands.cancel(submitted)
        raise
    if old := held[None].get(EVALUATE):  # it waited for less than this one does
        commands.cancel([old])


def _note(of: Run, stage: str, number: str) -> None:
    atomic.write_json(of.jobs / "queued.json", {**of.queued(), stage: number})
