"""From a run's settings, a site and what the launcher was told to jobs: what would be submitted, nothing done yet."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudseg.chain import preprocessing
from cloudseg.core import run, tables
from cloudseg.core.config import Settings
from cloudseg.core.errors import UsageError, to_type
from cloudseg.job import hook
from cloudseg.monitor import estimate
from cloudseg.slurm import script, sites
from cloudseg.slurm.sites import Resources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--cluster", choices=("auto", "slurm", "local"), default="auto", help="auto: Slurm where there is sbatch"
    )
    group.add_argument("--site", metavar="NAME", help="site file in env/sites (default: $CLOUDSEG_SITE, else ruche)")
    group.add_argument("--nodes", type=int, help="nodes of each stage (default: the site's)")
    group.add_argument(
        "--elastic",
        action="store_true",
        help="start, and go on, with fewer nodes when there are not as many: the same batches, slower",
    )
    group.add_argument("--tasks-per-node", type=int, help="ranks a node: one a GPU (default: the site's; 1 here)")
    group.add_argument("--partition", help="in place of the site's")
    group.add_argument(
        "--time",
        metavar="HH:MM:SS",
        help="walltime of each stage (default: 1.5 times what a stage like it took in a run beside this one, at most "
        "the site's)",
    )
    group.add_argument("--mail", metavar="ADDRESS", help="Slurm writes there when a stage ends or fails")
    group.add_argument(
        "--hook",
        metavar="COMMAND",
        help="run by the job when its stage has ended, with CLOUDSEG_RUN, CLOUDSEG_STAGE, CLOUDSEG_ENDED (done or "
        "failed) and CLOUDSEG_REASON set",
    )
    group.add_argument(
        "--no-snapshot", action="store_true", help="jobs run the code as it lies here when they start, edits included"
    )


def stage_jobs(
    folder: Path, chosen: list[str], args: argparse.Namespace, code: str, settings: Settings | None = None
) -> dict[str, script.Job]:
    """The jobs of `chosen` stages, by stage; with `settings`, for as long as they are likely to take.

    Raises UsageError for what the site would refuse.
    """
    site = sites.load(args.site)
    changes: dict[str, Any] = {"nodes": args.nodes, "tasks_per_node": args.tasks_per_node}
    changes |= {"partition": args.partition, "time": args.time}
    if args.tasks_per_node and site.train.gpus_per_node:
        changes["gpus_per_node"] = args.tasks_per_node
    changes = {key: value for key, value in changes.items() if value is not None}
    exports = (*exports_of(args.site, code), ("SUBMITIT_EXECUTOR", "slurm"))
    if args.hook:
        exports += ((hook.VARIABLE, args.hook),)
    jobs = {}
    for stage in chosen:
        log = str(run.jobs_folder(folder) / f"{stage}.log")
        job = script.stage_job(stage, site, str(folder), log, **changes)
        if settings and not args.time and (seconds := estimated(stage, settings, job, folder)):
            time = estimate.walltime(seconds, job.resources.time)
            job = dataclasses.replace(job, resources=dataclasses.replace(job.resources, time=time))
        if args.mail:
            job = dataclasses.replace(job, sbatch=(*job.sbatch, f"--mail-user={args.mail}", "--mail-type=END,FAIL"))
        command = script.submitit_command(run.jobs_folder(folder) / "submitit")
        sites.refuse(site, job.resources)
        began = begun(folder, stage, settings, job) if settings and stage != run.EVALUATE else ()
        jobs[stage] = dataclasses.replace(
            job, exports=(*exports, *began), command=command, elastic=args.elastic and stage != run.EVALUATE
        )
    return jobs


def begun(folder: Path, stage: str, settings: Settings, job: script.Job) -> tuple[tuple[str, str], ...]:
    """What `job` is told if it is to do the work of more ranks than it has, as the stage's checkpoint is of so many.

    Raises UsageError if they cannot share it evenly.
    """
    runs = [run.Run(folder / f"fold-{fold}", settings) for fold in settings.folds] or [run.Run(folder, settings)]
    began = {each.path: each.saved_ranks(stage) for each in runs if not each.done(stage)}
    ranks = {path: number for path, number in began.items() if number}
    if len(set(ranks.values())) > 1:
        # An array has one number of ranks for all of its tasks.
        first, number = next(iter(ranks.items()))
        nodes, tasks = sharing(number, job.resources)
        options = ["--run", first, "--nodes", nodes, "--tasks-per-node", tasks]
        raise UsageError(
            f"folds of stage {stage} began on different numbers of ranks "
            f"({', '.join(f'{path.name} on {number}' for path, number in ranks.items())}); go on with each alone, "
            f"first: {to_type('cloudseg.launch', '--stages', stage, *options)}"
        )
    planned = next(iter(ranks.values()), job.ranks)
    if planned % job.ranks:
        nodes, tasks = sharing(planned, job.resources)
        raise UsageError(
            f"stage {stage} began on {planned} ranks and goes on with as many, or with fewer that can share their work "
            f"evenly, not with {job.ranks}; type: --nodes {nodes} --tasks-per-node {tasks}"
        )
    return ((script.PLANNED_RANKS, str(planned)),) if planned != job.ranks else ()


def sharing(planned: int, most: Resources) -> tuple[int, int]:
    """Nodes and tasks a node, not more than `most` has, that are as many ranks as can share the work of `planned`
    evenly."""
    shapes = itertools.product(range(1, most.nodes + 1), range(1, most.tasks_per_node + 1))
    return max((shape for shape in shapes if planned % math.prod(shape) == 0), key=math.prod)


def exports_of(site: str | None, code: str) -> tuple[tuple[str, str], ...]:
    """What every job is told of the code, the environment and the site."""
    return (("CLOUDSEG_HOME", code), ("CLOUDSEG_VENV", sys.prefix), ("CLOUDSEG_SITE", str(sites.file(site))))


def preprocessing_job(folder: Path, args: argparse.Namespace, code: str) -> script.Job:
    return preprocessing.job(args.source, sites.load(args.site), folder, exports_of(args.site, code))


def estimated(stage: str, settings: Settings, job: script.Job, folder: Path) -> float | None:
    """Seconds that the stage will take as `job`, if a run beside `folder` tells; of the evaluation nobody does."""
    if stage == run.EVALUATE:
        return None
    return estimate.stage_seconds(settings, stage, job.ranks, job.resources, folder.parent)


Predict = Callable[[Settings, Mapping[str, script.Job]], Mapping[str, float]]
"""Seconds of stages that nothing like was ever run of; empty if that cannot be said."""


def show(args: argparse.Namespace, settings: Settings, predict: Predict) -> None:
    """Print what would be queued, as a table."""
    folder = args.run.resolve()
    jobs = stage_jobs(folder, args.stages, args, "CODE", settings)
    rows = [("stage", "trains", "epochs", "nodes x ranks", "partition", "at most", "estimate", "starts from", "writes")]
    if args.source:
        need = preprocessing_job(folder, args, "CODE").resources
        shape = (f"{args.source.shards} x {need.cpus_per_task} CPUs", need.partition, need.time)
        rows.append((run.PREPROCESS, "", "", *shape, "", str(args.csv), settings.data))
    known = {stage: estimated(stage, settings, job, folder) for stage, job in jobs.items()}
    modelled = predict(settings, {stage: jobs[stage] for stage in jobs if not known[stage]})
    for stage, job in jobs.items():
        need, seconds = job.resources, known[stage]
        shape = (f"{need.nodes} x {need.tasks_per_node}", need.partition, need.time)
        guess = tables.span(seconds) if seconds else f"> {tables.span(modelled[stage])}" if stage in modelled else ""
        if stage == run.EVALUATE:
            rows.append((stage, "", "", *shape, guess, settings.stages[-1], "evaluate/, report.html"))
            continue
        own, index = settings.stage[stage], settings.stages.index(stage)
        trains = "decoder" + (f", {own.encoder:.0%} of the encoder" if own.encoder else "")
        before = settings.stages[index - 1] if index else f"weights: {settings.weights}"
        rows.append((stage, trains, str(own.epochs), *shape, guess, before, f"{index + 1}-{stage}/"))
    each = f"; each of folds {', '.join(map(str, settings.folds))}" if settings.folds else ""
    print(f"{folder}: {settings.network}, recipe {settings.recipe}{each}\n")
    print("\n".join(tables.table(rows)))
    if modelled:
        print(
            "\n>: nothing like it has run here yet, and by the model of cloudseg.scaling it takes at least so long; "
            "jobs ask for the site's longest time"
        )


def scripts(jobs: Mapping[str, script.Job], after: str) -> Iterator[tuple[str, script.Job]]:
    """What would be submitted, the first after the job `after`, with a title each."""
    for stage, job in jobs.items():
        yield f"stage {stage}", dataclasses.replace(job, dependency=script.afterok(after) if after else "")
        after = f"JOB_ID_OF_{stage.upper()}"
