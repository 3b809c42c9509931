"""Plans the jobs of a run from its settings, the site and the options of launch. Nothing is submitted here."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudseg.chain import job_options, preprocessing
from cloudseg.core import run, tables
from cloudseg.core.config import Settings
from cloudseg.core.errors import UsageError, to_type
from cloudseg.job import hook
from cloudseg.monitor import estimate
from cloudseg.slurm import script, sites
from cloudseg.slurm.sites import Resources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide where and how jobs run."""
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--cluster", choices=("auto", "slurm", "local"), default="auto", help="auto: Slurm if there is sbatch"
    )
    group.add_argument("--site", metavar="NAME", help="site file in env/sites (default: $CLOUDSEG_SITE, else ruche)")
    group.add_argument("--nodes", type=int, help="nodes of each stage (default: from the site file)")
    group.add_argument(
        "--elastic",
        action="store_true",
        help="start and resume with fewer nodes if not all are free: the same batches, slower",
    )
    group.add_argument(
        "--tasks-per-node", type=int, help="ranks per node, one per GPU (default: from the site file; 1 with local)"
    )
    group.add_argument("--partition", help="partition (default: from the site file)")
    group.add_argument(
        "--time",
        metavar="HH:MM:SS",
        help="walltime of each stage (default: 1.5 times the duration of a comparable stage in a run in the same "
        "folder, at most the walltime in the site file)",
    )
    job_options.add_arguments(group)
    group.add_argument(
        "--hook",
        metavar="COMMAND",
        help="command that the job runs when its stage has ended, with CLOUDSEG_RUN, CLOUDSEG_STAGE, CLOUDSEG_ENDED "
        "(done or failed) and CLOUDSEG_REASON set",
    )
    group.add_argument(
        "--no-snapshot", action="store_true", help="jobs run the code in this folder, with all edits until they start"
    )


def stage_jobs(
    folder: Path, chosen: list[str], args: argparse.Namespace, code: str, settings: Settings | None = None
) -> dict[str, script.Job]:
    """Stage -> job for the `chosen` stages of the run in `folder`; `code` is the folder of the code that jobs run.

    With `settings` the walltime comes from the estimate of `estimated`, if there is one. Raises UsageError if a job
    exceeds limits of the site.
    """
    site = sites.load(args.site)
    changes: dict[str, Any] = {"nodes": args.nodes, "tasks_per_node": args.tasks_per_node}
    changes |= {"partition": args.partition, "time": args.time}
    if args.tasks_per_node and site.train.gpus_per_node:
        changes["gpus_per_node"] = args.tasks_per_node
    changes = {key: value for key, value in changes.items() if value is not None}
    exports = (*job_exports(args.site, code), ("SUBMITIT_EXECUTOR", "slurm"))
    if args.hook:
        exports += ((hook.VARIABLE, args.hook),)
    jobs = {}
    for stage in chosen:
        log = str(run.jobs_folder(folder) / f"{stage}.log")
        job = script.stage_job(stage, site, str(folder), log, **changes)
        if settings and not args.time and (seconds := estimated(stage, settings, job, folder)):
            time = estimate.walltime(seconds, job.resources.time)
            job = dataclasses.replace(job, resources=dataclasses.replace(job.resources, time=time))
        job = dataclasses.replace(job, sbatch=(*job.sbatch, *job_options.of_stages(args)), throttle=args.throttle or 0)
        command = script.submitit_command(run.jobs_folder(folder) / "submitit")
        sites.check_limits(site, job.resources)
        ranks = rank_exports(folder, stage, settings, job) if settings and stage != run.EVALUATE else ()
        jobs[stage] = dataclasses.replace(
            job, exports=(*exports, *ranks), command=command, elastic=args.elastic and stage != run.EVALUATE
        )
    return jobs


def rank_exports(folder: Path, stage: str, settings: Settings, job: script.Job) -> tuple[tuple[str, str], ...]:
    """Environment variables of `job` if it resumes a checkpoint of more ranks than it has: their number.

    Raises UsageError if the ranks of `job` cannot divide the work of these ranks evenly, or if the checkpoints of
    several folds are of different numbers of ranks.
    """
    runs = [run.Run(folder / f"fold-{fold}", settings) for fold in settings.folds] or [run.Run(folder, settings)]
    saved = {each.path: each.saved_ranks(stage) for each in runs if not each.done(stage)}
    ranks = {path: number for path, number in saved.items() if number}
    if len(set(ranks.values())) > 1:
        # All tasks of an array have the same number of ranks.
        first, number = next(iter(ranks.items()))
        nodes, tasks = largest_divisor_layout(number, job.resources)
        options = ["--run", first, "--nodes", nodes, "--tasks-per-node", tasks]
        raise UsageError(
            f"folds of stage {stage} started on different numbers of ranks "
            f"({', '.join(f'{path.name} on {number}' for path, number in ranks.items())}); resume each of them alone, "
            f"first: {to_type('cloudseg.launch', '--stages', stage, *options)}"
        )
    planned = next(iter(ranks.values()), job.ranks)
    if planned % job.ranks:
        nodes, tasks = largest_divisor_layout(planned, job.resources)
        raise UsageError(
            f"stage {stage} started on {planned} ranks and resumes on {planned} ranks or a divisor of {planned}, not "
            f"on {job.ranks}; type: --nodes {nodes} --tasks-per-node {tasks}"
        )
    return ((script.PLANNED_RANKS, str(planned)),) if planned != job.ranks else ()


def largest_divisor_layout(planned: int, limit: Resources) -> tuple[int, int]:
    """Nodes and tasks per node within `limit` whose product is the largest possible divisor of `planned`."""
    layouts = itertools.product(range(1, limit.nodes + 1), range(1, limit.tasks_per_node + 1))
    return max((layout for layout in layouts if planned % math.prod(layout) == 0), key=math.prod)


def job_exports(site: str | None, code: str) -> tuple[tuple[str, str], ...]:
    """Environment variables of every job: folder of the code, Python environment, site file."""
    return (("CLOUDSEG_HOME", code), ("CLOUDSEG_VENV", sys.prefix), ("CLOUDSEG_SITE", str(sites.file(site))))


def preprocessing_job(folder: Path, args: argparse.Namespace, code: str) -> script.Job:
    """The preprocessing array of the run in `folder`."""
    job = preprocessing.job(args.source, sites.load(args.site), folder, job_exports(args.site, code))
    options = (*job.sbatch, *job_options.of_every_job(args))
    return dataclasses.replace(job, sbatch=options, throttle=args.throttle or 0)


def estimated(stage: str, settings: Settings, job: script.Job, folder: Path) -> float | None:
    """Seconds that `job` takes for the stage, from comparable stages of runs beside `folder`.

    None without such stages, and for the evaluation.
    """
    if stage == run.EVALUATE:
        return None
    return estimate.stage_seconds(settings, stage, job.ranks, job.resources, folder.parent)


Predict = Callable[[Settings, Mapping[str, script.Job]], Mapping[str, float]]
"""(settings, stage -> job) -> seconds of stages without comparable stages; {} if the performance model cannot tell."""


def show(args: argparse.Namespace, settings: Settings, predict: Predict) -> None:
    """Print the jobs that launch would queue, as a table."""
    folder = args.run.resolve()
    jobs = stage_jobs(folder, args.stages, args, "CODE", settings)
    rows = [("stage", "trains", "epochs", "nodes x ranks", "partition", "at most", "estimate", "starts from", "writes")]
    if args.source:
        need = preprocessing_job(folder, args, "CODE").resources
        shape = (f"{args.source.shards} x {need.cpus_per_task} CPUs", need.partition, need.time)
        rows.append((run.PREPROCESS, "", "", *shape, "", str(args.csv), settings.data))
    estimates = {stage: estimated(stage, settings, job, folder) for stage, job in jobs.items()}
    modelled = predict(settings, {stage: jobs[stage] for stage in jobs if not estimates[stage]})
    for stage, job in jobs.items():
        need, seconds = job.resources, estimates[stage]
        shape = (f"{need.nodes} x {need.tasks_per_node}", need.partition, need.time)
        duration = tables.span(seconds) if seconds else f"> {tables.span(modelled[stage])}" if stage in modelled else ""
        if stage == run.EVALUATE:
            rows.append((stage, "", "", *shape, duration, settings.stages[-1], "evaluate/, report.html"))
            continue
        stage_settings, index = settings.stage[stage], settings.stages.index(stage)
        trains = "decoder" + (f", {stage_settings.encoder:.0%} of the encoder" if stage_settings.encoder else "")
        before = settings.stages[index - 1] if index else f"weights: {settings.weights}"
        rows.append((stage, trains, str(stage_settings.epochs), *shape, duration, before, f"{index + 1}-{stage}/"))
    folds = f"; each of folds {', '.join(map(str, settings.folds))}" if settings.folds else ""
    print(f"{folder}: {settings.network}, recipe {settings.recipe}{folds}\n")
    print("\n".join(tables.table(rows)))
    if modelled:
        print(
            "\n>: lower bound from the model of cloudseg.scaling, because no comparable stage has run here yet; the "
            "job requests the walltime of the site file"
        )


def scripts(jobs: Mapping[str, script.Job], after: str) -> Iterator[tuple[str, script.Job]]:
    """Pairs of (title, job) that launch would submit as a chain, the first after the success of the job `after`."""
    for stage, job in jobs.items():
        yield f"stage {stage}", dataclasses.replace(job, dependency=script.afterok(after) if after else "")
        after = f"JOB_ID_OF_{stage.upper()}"
