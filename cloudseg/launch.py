"""Queue the chain of fine-tuning stages as Slurm jobs and return, or run it here.

  python -m cloudseg.launch --stages all --data DATA                   frozen, partial, full, evaluate
  python -m cloudseg.launch --stages all --data DATA --plan            what it would do, as a table
  python -m cloudseg.launch --stages all --data DATA --dry-run         the scripts it would submit
  python -m cloudseg.launch --stages full,evaluate --run runs/NAME     the end of a chain
  python -m cloudseg.launch --stages all --folds 0-4 --data DATA       a chain a fold, then all judged as one
  python -m cloudseg.launch --stages preprocess,all --csv train.csv --images train_images --data DATA
  python -m cloudseg.launch --stages all --data DATA --cluster local --tasks-per-node 2
  python -m cloudseg.launch --study lr --values 1e-2,1e-3,1e-4 --data DATA     the first stage at several rates

Stages that are done are left alone, so the same command goes on where a chain ended. Settings that a run began
with stay; new ones want a new run: --run runs/OTHER.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudseg import atomic, config, lock, prediction, preflight, run
from cloudseg.cluster import (
    batch,
    folds,
    head,
    links,
    planning,
    sbatch,
    sites,
    slurm,
    snapshot,
    study,
    trials,
)
from cloudseg.cluster.head import SHARDS, Source
from cloudseg.config import Settings
from cloudseg.data import sizes
from cloudseg.data.shards import Manifest
from cloudseg.errors import UsageError, run_command, to_type
from cloudseg.run import Run
from cloudseg.signals import stop

LAUNCHED = "launched.json"
NO_DATA = "DATA"
"""The data set of plans and scripts where none is named."""
KEPT = (
    "cluster", "site", "nodes", "tasks_per_node", "partition", "time", "elastic", "mail", "hook", "no_snapshot",
    "csv", "images", "size", "shards",
)  # fmt: skip
"""What `resume` asks for again."""


def parser() -> argparse.ArgumentParser:
    out = run.parser("launch", __doc__)
    out.add_argument(
        "--stages", help="all, or some of the run's, as frozen,partial,full,evaluate; preprocess may come before"
    )
    out.add_argument(
        "--folds",
        metavar="0-4",
        help="a cross-validation: a run a fold, RUN/fold-0 and so on, and an evaluation of all of them as one",
    )
    out.add_argument("--plan", action="store_true", help="show the chain as a table, and do nothing")
    out.add_argument("--dry-run", action="store_true", help="print the sbatch scripts, and do nothing")
    config.add_arguments(out)
    study.add_arguments(out)
    out.set_defaults(run=None)  # a study has another
    source = out.add_argument_group("with --stages preprocess,all")
    source.add_argument("--csv", type=Path, metavar="train.csv", help="the competition's label table")
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of the 2100x1400 JPEGs")
    source.add_argument(
        "--size",
        type=sizes.argument,
        default="320x480",
        metavar="HxW",
        help="of the stored images (default %(default)s)",
    )
    source.add_argument(
        "--shards", type=int, default=SHARDS, metavar="N", help="shards, a task each (default %(default)s)"
    )
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
    """'all' or 'full,frozen' -> stages in the order in which they run, `preprocess` first if it is named; it is not
    among all. Raises UsageError for one that there is not."""
    chosen, known = text.split(","), (run.PREPROCESS, *chain)
    for name in chosen:
        if name not in ("all", *known):
            raise UsageError(f"--stages: there is no stage {name!r}{config.nearest(name, ['all', *known])}")
    return [name for name in known if name in chosen or ("all" in chosen and name in chain)]


def settings_of(args: argparse.Namespace) -> Settings:
    """Those of the run if it is there, else those it would get; data need not be there yet."""
    if (args.run / "run.toml").exists():
        return run.open_run(args.run).settings
    return config.resolve([*config.from_environment(), *given(args)], default_data=NO_DATA)


def given(args: argparse.Namespace) -> list[tuple[str, Mapping[str, Any]]]:
    """The settings that the command line names."""
    layers = config.from_arguments(args)
    return [*layers, ("--folds", {"folds": list(folds.parse(args.folds))})] if args.folds else layers


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    args.run = args.run or Path(trials.DEFAULT if args.study else run.DEFAULT)
    in_slurm = args.cluster == "slurm" or (args.cluster == "auto" and sbatch.is_there())
    if study.asked(args):
        study.launch(args, in_slurm, planning.stage_jobs)
        return
    settings = settings_of(args)
    args.stages = parse_stages(args.stages, run.chain(settings))
    args.head = head_of(args, settings)
    if args.plan:
        images = len(list(args.images.glob("*.jpg"))) if args.images else 0
        predict = functools.partial(
            prediction.seconds,
            machine=links.known(args.site, settings.precision, partition=args.partition).machine,
            size=sizes.parse(args.size),
            images=images or prediction.IMAGES,
        )
        planning.show(args, settings, predict)
        return
    if args.dry_run:
        dry_run(args, settings)
        return
    prepared = run.prepare(args.run, given(args), data_to_come=args.head is not None)
    if prepared.has_data():
        args.head = None
    if args.head and not in_slurm:
        head.run_here(args.head)
        args.head = None
    if settings.folds:
        launch_folds(prepared, args, in_slurm)
        return
    require_before([prepared], args.stages, args.head is not None)
    left = remaining(prepared, args.stages)
    if not left:
        print(f"{', '.join(args.stages)}: all done in {args.run}; results: {prepared.metrics}")
        return
    check(prepared, args)
    if in_slurm:
        with queueing(prepared, args):
            queue_chain(prepared, left, args)
    else:
        keep(prepared, args)
        run_stages(prepared, left, args.tasks_per_node or 1)
        print(f"results: {prepared.metrics}")


def head_of(args: argparse.Namespace, settings: Settings) -> Source | None:
    """What is to be preprocessed first, if anything; it is no longer among args.stages. Raises UsageError if it is not
    said from what."""
    if run.PREPROCESS not in args.stages:
        return None
    args.stages.remove(run.PREPROCESS)
    if not args.csv or not args.images:
        named = settings.data != str(Path(NO_DATA).resolve())
        data = "" if named else f" --data {NO_DATA}"
        raise UsageError(f"--stages preprocess: from what? add: --csv train.csv --images train_images{data}")
    for path in (args.csv, args.images):
        if not path.exists() and not (args.plan or args.dry_run):
            raise UsageError(f"{path} is not there")
    return Source(args.csv, args.images, args.size, args.shards, settings.data)


def check(prepared: Run, args: argparse.Namespace) -> None:
    """Raises UsageError for what could not work; data that is yet to be made is not looked at."""
    (preflight.check_settings if args.head else preflight.check)(prepared.settings)


def remaining(prepared: Run, chosen: list[str]) -> list[str]:
    """Those of `chosen` that are not done."""
    left = [stage for stage in chosen if not prepared.done(stage)]
    if left and run.EVALUATE in chosen:  # what there is of one was of an earlier stage
        left = [stage for stage in left if stage != run.EVALUATE] + [run.EVALUATE]
    return left


def require_before(runs: Sequence[Run], chosen: Sequence[str], head: bool) -> None:
    """Raises UsageError, with all stages that are to be named, if what those of `chosen` start from is in one of `runs`
    neither done nor chosen; `head` says whether preprocessing comes before them."""
    training = [(each, stage) for each in runs for stage in chosen if stage != run.EVALUATE and not each.done(stage)]
    lacking = [(before, stage) for each, stage in training for before in each.lacking(stage) if before not in chosen]
    if lacking:
        before, stage = lacking[0]
        wanted = {*chosen, *(name for name, _ in lacking)}
        named = [run.PREPROCESS] * head + [name for name in runs[0].chain if name in wanted]
        raise UsageError(
            f"stage {stage} starts from stage {before}, which is not done; type: --stages {','.join(named)}"
        )


def queue_head(prepared: Run, args: argparse.Namespace, code: str) -> str:
    """Submit the array that makes the shards, if there is one; returns its id, or ""."""
    if not args.head:
        return ""
    job = planning.head_job(prepared.path, args, code)
    number = sbatch.submit(job, prepared.jobs / f"{run.PREPROCESS}.sbatch")
    atomic.write_json(prepared.jobs / "queued.json", {**prepared.queued(), run.PREPROCESS: number})
    announce(run.PREPROCESS, job, number)
    return number


def dry_run(args: argparse.Namespace, settings: Settings) -> None:
    """Print what would be submitted; needs no data, no Slurm and no TensorFlow."""
    folder = args.run.resolve()
    code, after = snapshot.code(folder, args.no_snapshot, dry_run=True), ""
    jobs = planning.stage_jobs(folder, args.stages, args, code, settings)
    if args.head:
        after = f"JOB_ID_OF_{run.PREPROCESS.upper()}"
        print(f"# sbatch script of {run.PREPROCESS}\n{slurm.script(planning.head_job(folder, args, code))}")
    if settings.folds:
        training = [stage for stage in args.stages if stage != run.EVALUATE]
        scripts = folds.scripts(folder, dict.fromkeys(settings.folds, training), jobs, after)
    else:
        scripts = planning.scripts(jobs, after)
    for title, job in scripts:
        print(f"# sbatch script of {title}\n{slurm.script(job)}")
    try:
        layers = [*config.from_environment(), *given(args)]
        Manifest.load(run.open_run(args.run).settings.data if not layers else config.resolve(layers).data)
    except UsageError as error:
        print(f"note: without --dry-run this would stop: {error}", file=sys.stderr)


def launch_folds(whole: Run, args: argparse.Namespace, in_slurm: bool) -> None:
    """Queue, or run here, what is left of a cross-validation."""
    check(whole, args)
    training = [stage for stage in args.stages if stage != run.EVALUATE]
    members = folds.prepare(whole, args.head is not None)
    require_before(members, training, args.head is not None)
    left = {member.settings.fold: remaining(member, training) for member in members}
    judging = run.EVALUATE in args.stages and (any(left.values()) or not whole.done(run.EVALUATE))
    if not any(left.values()) and not judging:
        print(f"{', '.join(args.stages)}: all done in {args.run}; results: {whole.metrics}")
    elif in_slurm:
        with queueing(whole, args):
            queue_folds(whole, left, judging, args)
    else:
        keep(whole, args)
        for fold, stages in left.items():
            print(f"fold {fold}: {', '.join(stages) or 'all done'}", flush=True)
            run_stages(run.open_run(whole.member(fold)), stages, args.tasks_per_node or 1)
        if judging:
            run_stages(whole, [run.EVALUATE], args.tasks_per_node or 1)
            print(f"results: {whole.metrics}")


def queue_folds(whole: Run, left: dict[int, list[str]], judging: bool, args: argparse.Namespace) -> None:
    """Submit the arrays of `left`, by fold, and the evaluation. Folds that have jobs in the queue keep these."""
    held = folds.active(whole)
    for fold in [fold for fold in left if held[fold]]:
        # What it has in the queue ends with a stage; those after it would be judged without.
        last = max((left[fold].index(stage) for stage in held[fold] if stage in left[fold]), default=-1)
        if more := left[fold][last + 1 :]:
            raise UsageError(
                f"fold {fold} has {', '.join(held[fold])} in the queue; {', '.join(more)} can be queued when that has "
                f"ended, or after: {to_type('cloudseg.cancel', args.run)}"
            )
        listed = ", ".join(f"{stage} {number}" for stage, number in held[fold].items())
        print(f"fold {fold} is queued already, and not queued twice: {listed}")
        left.pop(fold)
    if not any(left.values()) and (held[None] or not judging):
        print(f"stop them first with: {to_type('cloudseg.cancel', args.run)}")
        return
    stages = [*dict.fromkeys(stage for each in left.values() for stage in each), *([run.EVALUATE] if judging else [])]
    code = snapshot.code(whole.path, args.no_snapshot)
    todo = planning.stage_jobs(whole.path, stages, args, code, whole.settings)
    folds.submit(whole, left, todo, announce, queue_head(whole, args, code))
    epilogue(whole, args, "each fold's stage starts when the one before has succeeded, the evaluation after all")


@contextlib.contextmanager
def queueing(prepared: Run, args: argparse.Namespace) -> Iterator[None]:
    """While within, no other launch queues jobs of this run. Raises UsageError where it could not be queued."""
    sbatch.require(sites.load(args.site))
    prepared.jobs.mkdir(parents=True, exist_ok=True)
    refusal = "wait until it has queued its jobs; if it is gone, delete that file"
    # Of two launches at once, one looks and queues, and the other then sees that it has.
    with lock.held(prepared.jobs / "launch.lock", "", lambda owner: False, refusal), stop.noted():
        yield  # a job that is queued and not yet written down would be queued again


def announce(name: str, job: slurm.Job, number: str) -> None:
    """Say that a job was queued."""
    need = job.resources
    shape = f"{need.nodes} node{'s' * (need.nodes > 1)} x {need.tasks_per_node} ranks"
    if name == run.PREPROCESS:
        shape = f"{int(job.array.rpartition('-')[2]) + 1} tasks of {need.cpus_per_task} CPUs"
    if planned := dict(job.exports).get(slurm.PLANNED_RANKS):
        shape += f" that do the work of {planned}"
    print(f"{name:9} job {number}: {shape}, {need.partition}, at most {need.time}; log {job.log}", flush=True)


def kept(args: argparse.Namespace) -> dict[str, Any]:
    """What `resume` asks for again, as JSON has it."""
    values = {key: getattr(args, key) for key in KEPT}
    return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in values.items()}


def keep(prepared: Run, args: argparse.Namespace) -> None:
    """Write for `resume` how it was launched."""
    prepared.jobs.mkdir(parents=True, exist_ok=True)
    atomic.write_json(prepared.jobs / LAUNCHED, kept(args))


def epilogue(prepared: Run, args: argparse.Namespace, order: str) -> None:
    """Keep for `resume` how it was launched, and say what to type next."""
    keep(prepared, args)
    print(order)
    print(f"watch: {to_type('cloudseg.status', args.run, '--watch')}")
    print(f"follow: {to_type('cloudseg.logs', args.run, '--follow')}")
    print(f"stop all: {to_type('cloudseg.cancel', args.run)}")


def queue_chain(prepared: Run, left: list[str], args: argparse.Namespace) -> None:
    """Submit `left` as a chain, unless jobs of this run are queued already."""
    from cloudseg.cluster import jobs

    active = jobs.queued(prepared)
    if active:
        listed = ", ".join(f"{stage} {number}" for stage, number in active.items())
        print(f"{args.run}: these jobs are queued already, so nothing is queued twice: {listed}")
        print(f"stop them first with: {to_type('cloudseg.cancel', args.run)}")
        return
    code = snapshot.code(prepared.path, args.no_snapshot)
    todo = planning.stage_jobs(prepared.path, left, args, code, prepared.settings)
    after = queue_head(prepared, args, code)
    jobs.submit(prepared, todo, lambda stage, number: announce(stage, todo[stage], number), after)
    epilogue(prepared, args, "each starts when the one before has succeeded")


def run_stages(prepared: Run, left: list[str], ranks: int) -> None:
    """Stages on this machine, one after the other, `ranks` processes each."""
    for stage in left:
        began = time.monotonic()
        batch.run_stage(prepared.path, stage, ranks)
        print(f"{stage} done in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    run_command(main)
