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
import functools
from collections.abc import Sequence
from pathlib import Path

from cloudseg.chain import (
    dry_run,
    plan,
    preprocessing,
    selection,
    stages,
    study,
    trials,
)
from cloudseg.core import config, run
from cloudseg.core.config import Settings
from cloudseg.core.errors import run_command
from cloudseg.data import image_size
from cloudseg.performance import links, stage_time
from cloudseg.slurm import sbatch


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
    preprocessing.add_arguments(out)
    plan.add_arguments(out)
    return out


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    args.run = args.run or Path(trials.DEFAULT if args.study else run.DEFAULT)
    in_slurm = args.cluster == "slurm" or (args.cluster == "auto" and sbatch.is_there())
    if study.requested(args):
        study.launch(args, in_slurm, plan.stage_jobs)
        return
    settings = selection.settings_of(args)
    args.stages = selection.parse_stages(args.stages, run.chain(settings))
    args.source = preprocessing.source_of(args, settings)
    if args.plan:
        show_plan(args, settings)
    elif args.dry_run:
        dry_run.show(args, settings)
    else:
        stages.launch(args, in_slurm)


def show_plan(args: argparse.Namespace, settings: Settings) -> None:
    """Print what would be queued, with times from the performance model where no run beside this one tells."""
    images = len(list(args.images.glob("*.jpg"))) if args.images else 0
    predict = functools.partial(
        stage_time.seconds,
        machine=links.known(args.site, settings.precision, partition=args.partition).machine,
        size=image_size.parse(args.size),
        images=images or stage_time.IMAGES,
    )
    plan.show(args, settings, predict)


if __name__ == "__main__":
    run_command(main)
