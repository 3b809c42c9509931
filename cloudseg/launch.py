"""Queue the chain of fine-tuning stages as Slurm jobs and return, or run it here.

  python -m cloudseg.launch --stages all --data DATA                   frozen, partial, full, evaluate
  python -m cloudseg.launch --stages all --data DATA --plan            what it would do, as a table
  python -m cloudseg.launch --stages all --data DATA --dry-run         the scripts it would submit
  python -m cloudseg.launch --stages full,evaluate --run runs/NAME     the end of a chain
  python -m cloudseg.launch --stages all --data DATA --cluster local --tasks-per-node 2
  python -m cloudseg.launch --study lr --values 1e-2,1e-3,1e-4 --data DATA     the first stage at several rates

Stages that are done are left alone, so the same command goes on where a chain ended. Settings that a run began
with stay; new ones want a new run: --run runs/OTHER.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudseg import atomic, config, lock, preflight, run
from cloudseg.cluster import batch, estimate, hook, sites, slurm, snapshot, study, text, trials
from cloudseg.config import Settings
from cloudseg.data.shards import Manifest
from cloudseg.errors import UsageError, run_command
from cloudseg.run import Run

LAUNCHED = "launched.json"
KEPT = ("site", "nodes", "tasks_per_node", "partition", "time", "elastic", "mail", "hook", "no_snapshot")
"""What `resume` asks for again."""


def parser() -> argparse.ArgumentParser:
    out = run.parser("launch", __doc__)
    out.add_argument("--stages", help="all, or some of the run's, as frozen,partial,full,evaluate")
    out.add_argument("--plan", action="store_true", help="show the chain as a table, and do nothing")
    out.add_argument("--dry-run", action="store_true", help="print the sbatch scripts, and do nothing")
    config.add_arguments(out)
    study.add_arguments(out)
    out.set_defaults(run=None)  # a study has another
    where = out.add_argument_group("where it runs")
    where.add_argument(
        "--cluster", choices=("auto", "slurm", "local"), default="auto", help="auto: Slurm where there is sbatch"
    )
    where.add_argument("--site", metavar="NAME", help="site file in env/sites (default: $CLOUDSEG_SITE, else ruche)")
    where.add_argument("--nodes", type=int, help="nodes of each stage (default: the site's)")
    where.add_argument(
        "--elastic",
        action="store_true",
        help="start, and go on, with fewer nodes when there are not as many: the same batches, slower",
    )
    where.add_argument("--tasks-per-node", type=int, help="ranks a node: one a GPU (default: the site's; 1 here)")
    where.add_argument("--partition", help="in place of the site's")
    where.add_argument(
        "--time",
        metavar="HH:MM:SS",
        help="walltime of each stage (default: 1.5 times what a stage like it took in a run beside this one, at most "
        "the site's)",
    )
    where.add_argument("--mail", metavar="ADDRESS", help="Slurm writes there when a stage ends or fails")
    where.add_argument(
        "--hook",
        metavar="COMMAND",
        help="run by the job when its stage has ended, with CLOUDSEG_RUN, CLOUDSEG_STAGE, CLOUDSEG_ENDED (done or "
        "failed) and CLOUDSEG_REASON set",
    )
    where.add_argument(
        "--no-snapshot", action="store_true", help="jobs run the code as it lies here when they start, edits included"
    )
    return out


def parse_stages(text: str, chain: Sequence[str]) -> list[str]:
    """'all' or 'full,frozen' -> stages in the order in which they run. Raises UsageError for one that there is not."""
    chosen = chain if text == "all" else text.split(",")
    for name in chosen:
        if name not in chain:
            raise UsageError(f"--stages: there is no stage {name!r}{config.nearest(name, ['all', *chain])}")
    return [name for name in chain if name in chosen]


def settings_of(args: argparse.Namespace) -> Settings:
    """Those of the run if it is there, else those it would get; data need not be there yet."""
    if (args.run / "run.toml").exists():
        return run.open_run(args.run).settings
    return config.resolve([*config.from_environment(), *config.from_arguments(args)], default_data="DATA")


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    args.run = args.run or Path(trials.DEFAULT if args.study else run.DEFAULT)
    in_slurm = args.cluster == "slurm" or (args.cluster == "auto" and shutil.which("sbatch") is not None)
    if study.asked(args):
        study.launch(args, in_slurm, stage_jobs)
        return
    settings = settings_of(args)
    args.stages = parse_stages(args.stages, run.chain(settings))
    if args.plan:
        show_plan(args, settings)
        return
    if args.dry_run:
        dry_run(args, settings)
        return
    prepared = run.prepare(args.run, config.from_arguments(args))
    left = remaining(prepared, args.stages)
    if not left:
        print(f"{', '.join(args.stages)}: all done in {args.run}; results: {prepared.metrics}")
        return
    preflight.check(prepared.settings)
    if in_slurm:
        queue_chain(prepared, left, args)
    else:
        run_here(prepared, left, args.tasks_per_node or 1)


def remaining(prepared: Run, chosen: list[str]) -> list[str]:
    """Those of `chosen` that are not done. Raises UsageError if what they start from is neither done nor chosen."""
    left = [stage for stage in chosen if not prepared.done(stage)]
    for stage in left:
        before = prepared.before(stage) if stage != run.EVALUATE else None
        if before and before not in left and not prepared.done(before):
            raise UsageError(
                f"stage {stage} starts from stage {before}, which is not done; type: --stages {before},{','.join(left)}"
            )
    return left


def stage_jobs(
    folder: Path, chosen: list[str], args: argparse.Namespace, code: str, settings: Settings | None = None
) -> dict[str, slurm.Job]:
    """The jobs of `chosen` stages, by stage; with `settings`, for as long as they are likely to take.

    Raises UsageError for what the site would refuse.
    """
    site = sites.load(args.site)
    changes: dict[str, Any] = {"nodes": args.nodes, "tasks_per_node": args.tasks_per_node}
    changes |= {"partition": args.partition, "time": args.time}
    if args.tasks_per_node and site.train.gpus_per_node:
        changes["gpus_per_node"] = args.tasks_per_node
    changes = {key: value for key, value in changes.items() if value is not None}
    exports = (
        ("CLOUDSEG_HOME", code),
        ("CLOUDSEG_VENV", sys.prefix),
        ("CLOUDSEG_SITE", str(sites.file(args.site))),
        ("SUBMITIT_EXECUTOR", "slurm"),
        *([(hook.VARIABLE, args.hook)] if args.hook else []),
    )
    jobs = {}
    for stage in chosen:
        log = str(run.jobs_folder(folder) / f"{stage}.log")
        job = slurm.stage_job(stage, site, str(folder), log, **changes)
        if settings and not args.time and (seconds := estimated(stage, settings, job.ranks, folder)):
            time = estimate.walltime(seconds, job.resources.time)
            job = dataclasses.replace(job, resources=dataclasses.replace(job.resources, time=time))
        if args.mail:
            job = dataclasses.replace(job, sbatch=(*job.sbatch, f"--mail-user={args.mail}", "--mail-type=END,FAIL"))
        command = slurm.submitit_command(run.jobs_folder(folder) / "submitit")
        sites.refuse(site, job.resources)
        jobs[stage] = dataclasses.replace(
            job, exports=exports, command=command, elastic=args.elastic and stage != run.EVALUATE
        )
    return jobs


def estimated(stage: str, settings: Settings, ranks: int, folder: Path) -> float | None:
    """Seconds that the stage will take, if a run beside `folder` tells; of the evaluation nobody does."""
    return None if stage == run.EVALUATE else estimate.stage_seconds(settings, stage, ranks, folder.parent)


def show_plan(args: argparse.Namespace, settings: Settings) -> None:
    """Print what would be queued, as a table."""
    folder = args.run.resolve()
    jobs = stage_jobs(folder, args.stages, args, "CODE", settings)
    rows = [("stage", "trains", "epochs", "nodes x ranks", "partition", "at most", "estimate", "starts from", "writes")]
    for stage, job in jobs.items():
        need, seconds = job.resources, estimated(stage, settings, job.ranks, folder)
        shape = (f"{need.nodes} x {need.tasks_per_node}", need.partition, need.time)
        guess = text.span(seconds) if seconds else ""
        if stage == run.EVALUATE:
            rows.append((stage, "", "", *shape, guess, settings.stages[-1], "evaluate/, report.html"))
            continue
        own, index = settings.stage[stage], settings.stages.index(stage)
        trains = "decoder" + (f", {own.encoder:.0%} of the encoder" if own.encoder else "")
        before = settings.stages[index - 1] if index else f"weights: {settings.weights}"
        rows.append((stage, trains, str(own.epochs), *shape, guess, before, f"{index + 1}-{stage}/"))
    print(f"{folder}: {settings.network}, recipe {settings.recipe}\n")
    print("\n".join(text.table(rows)))


def dry_run(args: argparse.Namespace, settings: Settings) -> None:
    """Print what would be submitted; needs no data, no Slurm and no TensorFlow."""
    folder = args.run.resolve()
    before, code = "", snapshot.code(folder, args.no_snapshot, dry_run=True)
    for stage, job in stage_jobs(folder, args.stages, args, code, settings).items():
        dependency = slurm.afterok(f"JOB_ID_OF_{before.upper()}") if before else ""
        print(f"# sbatch script of stage {stage}")
        print(slurm.script(dataclasses.replace(job, dependency=dependency)))
        before = stage
    try:
        given = [*config.from_environment(), *config.from_arguments(args)]
        Manifest.load(run.open_run(args.run).settings.data if not given else config.resolve(given).data)
    except UsageError as error:
        print(f"note: without --dry-run this would stop: {error}", file=sys.stderr)


def queue_chain(prepared: Run, left: list[str], args: argparse.Namespace) -> None:
    """Submit `left` as a chain, unless jobs of this run are queued already."""
    if shutil.which("sbatch") is None:
        raise UsageError("--cluster slurm: there is no sbatch on this machine; type: --cluster local")
    sites.require_account(sites.load(args.site))
    prepared.jobs.mkdir(parents=True, exist_ok=True)
    refusal = "wait until it has queued its jobs; if it is gone, delete that file"
    # Of two launches at once, one looks and queues, and the other then sees that it has.
    with lock.held(prepared.jobs / "launch.lock", "", lambda owner: False, refusal):
        _queue_chain(prepared, left, args)


def _queue_chain(prepared: Run, left: list[str], args: argparse.Namespace) -> None:
    from cloudseg.cluster import jobs

    active = jobs.queued(prepared)
    if active:
        listed = ", ".join(f"{stage} {number}" for stage, number in active.items())
        print(f"{args.run}: these jobs are queued already, so nothing is queued twice: {listed}")
        print(f"stop them first with: python -m cloudseg.cancel {args.run}")
        return
    code = snapshot.code(prepared.path, args.no_snapshot)
    todo = stage_jobs(prepared.path, left, args, code, prepared.settings)

    def announce(stage: str, number: str) -> None:
        need = todo[stage].resources
        print(
            f"{stage:9} job {number}: {need.nodes} node{'s' * (need.nodes > 1)} x {need.tasks_per_node} ranks, "
            f"{need.partition}, at most {need.time}; log {todo[stage].log}",
            flush=True,
        )

    jobs.submit(prepared, todo, announce)
    atomic.write_json(prepared.jobs / LAUNCHED, {key: getattr(args, key) for key in KEPT})
    print("each starts when the one before has succeeded")
    print(f"watch: python -m cloudseg.status {args.run} --watch")
    print(f"follow: python -m cloudseg.logs {args.run} --follow\nstop all: python -m cloudseg.cancel {args.run}")


def run_here(prepared: Run, left: list[str], ranks: int) -> None:
    """The chain on this machine, one stage after the other, `ranks` processes each."""
    for stage in left:
        began = time.monotonic()
        batch.run_stage(prepared.path, stage, ranks)
        print(f"{stage} done in {time.monotonic() - began:.0f} s", flush=True)
    print(f"results: {prepared.metrics}")


if __name__ == "__main__":
    run_command(main)
