"""Launches a learning-rate study: its trials as tasks of one Slurm array and a job that compares them, or all here."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cloudseg.chain import preflight, snapshot, trials
from cloudseg.chain.trials import Study
from cloudseg.core import atomic, config, run
from cloudseg.core.errors import CloudsegError, Stopped, UsageError
from cloudseg.slurm import commands, queue, sbatch, script, sites
from cloudseg.slurm.script import Job

StageJobs = Callable[[Path, list[str], argparse.Namespace, str], dict[str, Job]]
"""The launcher's: jobs by stage, from the run's folder, the stages, its arguments and the code's folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("learning-rate study, in place of --stages")
    group.add_argument(
        "--study", choices=("lr",), help=f"train the first stage at several rates; --run is then {trials.DEFAULT}"
    )
    group.add_argument("--values", metavar="LR,LR,...", help="the rates, as 1e-2,1e-3; new ones join those before")
    group.add_argument("--epochs", type=int, metavar="N", help="a shorter first stage (default: the recipe's)")


def asked(args: argparse.Namespace) -> bool:
    """Whether it is a study that is to be launched, and no chain. Raises UsageError for arguments that do not go
    together."""
    if args.study and args.stages:
        raise UsageError("--study and --stages exclude each other; leave out --stages, or all that is of the study")
    if args.study and args.csv:
        raise UsageError("--csv is for --stages preprocess,all; make the shards first, or leave it out")
    if args.study and args.folds:
        raise UsageError("--study trains on one fold; leave out --folds, or name the fold: --set fold=2")
    if not args.study and (args.values or args.epochs is not None):
        add = "--study lr" if args.values else "--study lr --values 1e-2,1e-3"
        raise UsageError(
            f"--values and --epochs are of a study; add: {add}{', in place of --stages' if args.stages else ''}"
        )
    if not args.study and not args.stages:
        raise UsageError("nothing to launch is named; type: --stages all, or: --study lr --values 1e-2,1e-3")
    if args.study and not args.values:
        raise UsageError("--study lr: its rates are missing; type, for example: --values 1e-2,1e-3,1e-4")
    if args.epochs is not None and args.epochs < 1:
        raise UsageError(f"--epochs: must be at least 1, not {args.epochs}")
    return bool(args.study)


def launch(args: argparse.Namespace, in_slurm: bool, stage_jobs: StageJobs) -> None:
    """Train the trials of --values that are not done, then compare all that the study has."""
    rates, given = trials.parse_rates(args.values), config.from_arguments(args)
    planned = trials.plan(args.run, rates, given)
    if args.dry_run:
        dry_run(planned, remaining(planned, rates), given, args, stage_jobs)
        return
    if not planned.begun:  # or a study that cannot be would leave a folder
        preflight.check(config.resolve([*config.from_environment(), *given]))
    with trials.changing(args.run):
        study = trials.plan(args.run, rates, given)  # again: another launch may have added to it since
        trials.prepare(study, given, args.epochs)
        left = remaining(study, rates)
        if left:
            preflight.check(run.open_run(study.trial(0)).settings)
            if in_slurm:
                submit(study, left, args, stage_jobs)
                return
    if left:
        run_here(study, left, args.tasks_per_node or 1)
    else:
        print(f"{args.values}: all done in {args.run}")
        trials.compare(study)


def remaining(study: Study, rates: tuple[float, ...]) -> list[int]:
    """Indices of `rates` that are not done."""
    return [index for index, rate in enumerate(study.rates) if rate in rates and not study.done(index)]


def run_here(study: Study, left: list[int], ranks: int) -> None:
    """The trials on this machine, one after the other, `ranks` processes each; one that fails stops no other."""
    for index in left:
        began, rate = time.monotonic(), study.rates[index]
        print(f"learning rate {rate:g}; follow: tail -F {study.log(index)}", flush=True)
        try:
            with trials.output_to(study.log(index)):
                trials.train(study, index, ranks)
        except Stopped:
            raise
        except CloudsegError:
            print(f"learning rate {rate:g} failed; the reason is at the end of {study.log(index)}", flush=True)
        else:
            print(f"learning rate {rate:g} done in {time.monotonic() - began:.0f} s", flush=True)
    trials.compare(study)


def jobs(study: Study, indices: list[int], args: argparse.Namespace, stage_jobs: StageJobs, code: str) -> list[Job]:
    """The array, a task a trial, and what compares them; the second waits for nothing yet."""
    training = stage_jobs(study.path, [study.stage], args, code)[study.stage]
    command = f"python -u -m cloudseg.study --run {shlex.quote(str(study.path))}"
    array = dataclasses.replace(
        training,
        name="study",
        command=f'{command} --index "$SLURM_ARRAY_TASK_ID"',
        log=str(study.log("%a")),
        array=",".join(map(str, indices)),
    )
    small = dataclasses.replace(sites.load(args.site).preprocess, cpus_per_task=1)
    comparison = dataclasses.replace(
        training, name="study-table", resources=small, command=command, log=str(study.jobs / "table.log")
    )
    return [array, comparison]


def after(job: Job, array: str) -> Job:
    """`job` once all tasks of the array have ended, however they did."""
    return dataclasses.replace(job, dependency=f"afterany:{array}")


def dry_run(
    study: Study, left: list[int], given: trials.Layers, args: argparse.Namespace, stage_jobs: StageJobs
) -> None:
    """Print what would be submitted; needs no data, no Slurm and no TensorFlow."""
    if not left:
        print(f"{args.values}: all done in {args.run}")
        return
    array, comparison = jobs(study, left, args, stage_jobs, snapshot.code(study.path, args.no_snapshot, True))
    rates = ", ".join(f"{study.rates[index]:g}" for index in left)
    print(f"# sbatch script of the trials, learning rates {rates}\n{script.script(array)}")
    print(f"# sbatch script of their comparison\n{script.script(after(comparison, 'JOB_ID_OF_TRIALS'))}")
    try:
        layers = [*config.from_environment(), *given]
        preflight.check(run.open_run(study.trial(0)).settings if study.begun else config.resolve(layers))
    except UsageError as error:
        print(f"note: without --dry-run this would stop: {error}", file=sys.stderr)


def submit(study: Study, left: list[int], args: argparse.Namespace, stage_jobs: StageJobs) -> None:
    """Submit the trials `left` that are not queued already, and their comparison; within `trials.changing`."""
    sbatch.require(sites.load(args.site))
    active = queued(study)
    for index in sorted(active.keys() & set(left)):
        print(f"learning rate {study.rates[index]:g} is queued already, job {active[index]}, and not queued twice")
    left = [index for index in left if index not in active]
    if not left:
        print(f"stop them first with: scancel {' '.join(active.values())}")
        return
    array, comparison = jobs(study, left, args, stage_jobs, snapshot.code(study.path, args.no_snapshot))
    study.jobs.mkdir(exist_ok=True)
    number = sbatch.submit(array, study.jobs / "study.sbatch")
    atomic.write_json(study.jobs / "arrays.json", [*arrays(study), number])
    try:
        last = sbatch.submit(after(comparison, number), study.jobs / "study-table.sbatch")
    except CloudsegError:
        commands.cancel([number])
        raise
    need = array.resources
    print(
        f"trials   job {number}: {len(left)} task{'s' * (len(left) > 1)} of {need.nodes} "
        f"node{'s' * (need.nodes > 1)} x {need.tasks_per_node} ranks, {need.partition}, at most {need.time}"
    )
    for index in left:
        print(f"  task {index}: learning rate {study.rates[index]:g}; log {study.log(index)}")
    print(f"table    job {last}: when all have ended; {comparison.log}, {study.picture}")
    print(f"watch: squeue --job {number},{last}\nstop all: scancel {number} {last}")


def arrays(study: Study) -> list[str]:
    """Ids of the study's array jobs, ended ones included."""
    try:
        return json.loads((study.jobs / "arrays.json").read_text())
    except FileNotFoundError:
        return []


def queued(study: Study) -> dict[int, str]:
    """Index -> job id, of those trials that Slurm still holds, pending or running."""
    ours = arrays(study)
    tasks = (number.partition("_") for number in queue.active(ours))
    return {int(index): f"{array}_{index}" for array, _, index in tasks if array in ours}
