"""Launches a learning-rate study: trials as tasks of a Slurm array and a job that compares them, or on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cloudseg.chain import job_options, preflight, snapshot, trials
from cloudseg.chain.trials import Study
from cloudseg.core import atomic, config, run
from cloudseg.core.errors import CloudsegError, Stopped, UsageError
from cloudseg.slurm import commands, limits, queue, sbatch, script, sites
from cloudseg.slurm.script import Job

StageJobs = Callable[[Path, list[str], argparse.Namespace, str], dict[str, Job]]
"""`plan.stage_jobs`: (folder of the run, stages, options, folder of the code) -> stage -> job."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a study."""
    group = parser.add_argument_group("learning-rate study, in place of --stages")
    group.add_argument(
        "--study",
        choices=("lr",),
        help=f"train the first stage at several learning rates; default of --run: {trials.DEFAULT}",
    )
    group.add_argument(
        "--values", metavar="LR,LR,...", help="learning rates, for example 1e-2,1e-3; added to those of the study"
    )
    group.add_argument("--epochs", type=int, metavar="N", help="epochs of the first stage (default: from the recipe)")


def requested(args: argparse.Namespace) -> bool:
    """Whether the options request a study, not a chain. Raises UsageError for options that exclude each other."""
    if args.study and args.stages:
        raise UsageError("--study and --stages exclude each other; leave out --stages, or the options of the study")
    if args.study and args.csv:
        raise UsageError("--csv is for --stages preprocess,all; make the shards first, or leave it out")
    if args.study and args.folds:
        raise UsageError("--study trains on one fold; leave out --folds, or name the fold: --set fold=2")
    if not args.study and (args.values or args.epochs is not None):
        add = "--study lr" if args.values else "--study lr --values 1e-2,1e-3"
        raise UsageError(
            f"--values and --epochs are options of a study; add: {add}{', in place of --stages' if args.stages else ''}"
        )
    if not args.study and not args.stages:
        raise UsageError("the stages are missing; type: --stages all, or: --study lr --values 1e-2,1e-3")
    if args.study and not args.values:
        raise UsageError("--study lr: learning rates are missing; type, for example: --values 1e-2,1e-3,1e-4")
    if args.epochs is not None and args.epochs < 1:
        raise UsageError(f"--epochs: must be at least 1, not {args.epochs}")
    return bool(args.study)


def launch(args: argparse.Namespace, in_slurm: bool, stage_jobs: StageJobs) -> None:
    """Train the trials of --values that are not done, then compare all trials of the study."""
    rates, given = trials.parse_rates(args.values), config.from_arguments(args)
    planned = trials.plan(args.run, rates, given)
    if args.dry_run:
        dry_run(planned, remaining(planned, rates), given, args, stage_jobs)
        return
    if not planned.exists:  # before `locked` creates the folder, so that an invalid study leaves none
        preflight.check(config.resolve([*config.from_environment(), *given]))
    with trials.locked(args.run):
        study = trials.plan(args.run, rates, given)  # again, because another launch may have added trials
        trials.prepare(study, given, args.epochs)
        indices = remaining(study, rates)
        if indices:
            preflight.check(run.open_run(study.trial(0)).settings)
            if in_slurm:
                submit(study, indices, args, stage_jobs)
                return
    if indices:
        run_here(study, indices, args.tasks_per_node or 1)
    else:
        print(f"{args.values}: all done in {args.run}")
        trials.compare(study)


def remaining(study: Study, rates: tuple[float, ...]) -> list[int]:
    """Indices of the trials with one of `rates` that are not done."""
    return [index for index, rate in enumerate(study.rates) if rate in rates and not study.done(index)]


def run_here(study: Study, indices: list[int], ranks: int) -> None:
    """Train trials on this machine, one after the other, with `ranks` processes each, then compare all trials.

    A failed trial does not stop the others. Raises Stopped if a signal stopped a trial.
    """
    for index in indices:
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
    """Two jobs: the array with one task per trial, and the comparison, still without a dependency."""
    training = stage_jobs(study.path, [study.stage], args, code)[study.stage]
    command = f"python -u -m cloudseg.study --run {shlex.quote(str(study.path))}"
    array = dataclasses.replace(
        training,
        name="study",
        command=f'{command} --index "$SLURM_ARRAY_TASK_ID"',
        log=str(study.log("%a")),
        array=",".join(map(str, indices)),
    )
    site = sites.load(args.site)
    small = dataclasses.replace(site.preprocess, cpus_per_task=1, mem="")
    comparison = dataclasses.replace(
        training,
        name="study-table",
        resources=small,
        command=command,
        log=str(study.jobs / "table.log"),
        sbatch=(*site.options(small), *job_options.of_every_job(args), *job_options.of_mail(args)),
    )
    return [array, comparison]


def planned_jobs(args: argparse.Namespace, stage_jobs: StageJobs) -> list[Job]:
    """The jobs that `launch` would submit for the trials that are not done, as if none were queued."""
    rates = trials.parse_rates(args.values)
    study = trials.plan(args.run, rates, config.from_arguments(args))
    code = snapshot.code(study.path, args.no_snapshot, dry_run=True)
    return jobs(study, indices, args, stage_jobs, code) if (indices := remaining(study, rates)) else []


def after(job: Job, array: str) -> Job:
    """`job` with a dependency on the end of all tasks of the array, whether they succeed or fail."""
    return dataclasses.replace(job, dependency=f"afterany:{array}")


def dry_run(
    study: Study, indices: list[int], given: trials.Layers, args: argparse.Namespace, stage_jobs: StageJobs
) -> None:
    """Print the scripts that launch would submit. Requires no data, no Slurm and no TensorFlow."""
    if not indices:
        print(f"{args.values}: all done in {args.run}")
        return
    array, comparison = jobs(study, indices, args, stage_jobs, snapshot.code(study.path, args.no_snapshot, True))
    rates = ", ".join(f"{study.rates[index]:g}" for index in indices)
    print(f"# sbatch script of the trials, learning rates {rates}\n{script.script(array)}")
    print(f"# sbatch script of their comparison\n{script.script(after(comparison, 'JOB_ID_OF_TRIALS'))}")
    try:
        layers = [*config.from_environment(), *given]
        preflight.check(run.open_run(study.trial(0)).settings if study.exists else config.resolve(layers))
    except UsageError as error:
        print(f"note: without --dry-run this would fail: {error}", file=sys.stderr)


def submit(study: Study, indices: list[int], args: argparse.Namespace, stage_jobs: StageJobs) -> None:
    """Submit the trials `indices` that are not queued already, and the comparison; call it within `trials.locked`."""
    sbatch.require(sites.load(args.site))
    active = queued(study)
    for index in sorted(active.keys() & set(indices)):
        print(f"learning rate {study.rates[index]:g} is queued already, job {active[index]}, and not queued twice")
    indices = [index for index in indices if index not in active]
    if not indices:
        print(f"to stop them: scancel {' '.join(active.values())}")
        return
    array, comparison = jobs(study, indices, args, stage_jobs, snapshot.code(study.path, args.no_snapshot))
    limits.require([array, comparison], limits.read([array, comparison]))
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
        f"trials   job {number}: {len(indices)} task{'s' * (len(indices) > 1)} of {need.nodes} "
        f"node{'s' * (need.nodes > 1)} x {need.tasks_per_node} ranks, {need.partition}, at most {need.time}"
    )
    for index in indices:
        print(f"  task {index}: learning rate {study.rates[index]:g}; log {study.log(index)}")
    print(f"table    job {last}: after all trials; {comparison.log}, {study.figure}")
    print(f"watch: squeue --job {number},{last}\nstop all: scancel {number} {last}")


def arrays(study: Study) -> list[str]:
    """Ids of all array jobs of the study, including ended ones."""
    try:
        return json.loads((study.jobs / "arrays.json").read_text())
    except FileNotFoundError:
        return []


def queued(study: Study) -> dict[int, str]:
    """Index of a trial -> id of its task, for tasks that are pending or running."""
    ids = arrays(study)
    tasks = (number.partition("_") for number in queue.active(ids))
    return {int(index): f"{array}_{index}" for array, _, index in tasks if array in ids}
