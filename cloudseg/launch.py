"""Queue the fine-tuning stages of a run as a chain of Slurm jobs, or run them on this machine.

  python -m cloudseg.launch --stages all --data DATA                   frozen, partial, full, evaluate
  python -m cloudseg.launch --stages all --data DATA --plan            show the jobs as a table
  python -m cloudseg.launch --stages all --data DATA --dry-run         show the sbatch scripts
  python -m cloudseg.launch --stages all --data DATA --check           ask Slurm whether it would accept the jobs
  python -m cloudseg.launch --stages full,evaluate --run runs/NAME     the last stages of a run
  python -m cloudseg.launch --stages all --folds 0-4 --data DATA       cross-validation: one chain per fold
  python -m cloudseg.launch --stages preprocess,all --csv train.csv --images train_images --data DATA
  python -m cloudseg.launch --stages all --data DATA --cluster local --tasks-per-node 2
  python -m cloudseg.launch --study lr --values 1e-2,1e-3,1e-4 --data DATA     learning-rate study

Stages that are done are skipped, so the same command resumes a chain. The settings of a run cannot change; for other
settings start another run: --run runs/OTHER.
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
    slurm_check,
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
    """The parser of this command."""
    out = run.parser("launch", __doc__)
    out.add_argument("--stages", help="all, or a list such as frozen,partial,full,evaluate; optionally with preprocess")
    out.add_argument(
        "--folds",
        metavar="0-4",
        help="cross-validation: one run per fold (RUN/fold-0 and so on), and one evaluation of all folds",
    )
    out.add_argument("--plan", action="store_true", help="show the jobs as a table; submits and writes nothing")
    out.add_argument("--dry-run", action="store_true", help="print the sbatch scripts; submits and writes nothing")
    out.add_argument(
        "--check", action="store_true", help="ask Slurm whether it would accept the jobs; submits and writes nothing"
    )
    config.add_arguments(out)
    study.add_arguments(out)
    out.set_defaults(run=None)  # the default depends on --study
    preprocessing.add_arguments(out)
    plan.add_arguments(out)
    return out


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    args.run = args.run or Path(trials.DEFAULT if args.study else run.DEFAULT)
    in_slurm = args.cluster == "slurm" or (args.cluster == "auto" and sbatch.is_there())
    if study.requested(args):
        if args.check:
            slurm_check.require_slurm(in_slurm)
            slurm_check.show(args, study.planned_jobs(args, plan.stage_jobs))
            return
        study.launch(args, in_slurm, plan.stage_jobs)
        return
    settings = selection.settings_of(args)
    args.stages = selection.parse_stages(args.stages, run.chain(settings))
    args.source = preprocessing.source_of(args, settings)
    if args.plan:
        show_plan(args, settings)
    elif args.check:
        slurm_check.require_slurm(in_slurm)
        slurm_check.show(args, [job for _, job in dry_run.jobs(args, settings)])
    elif args.dry_run:
        dry_run.show(args, settings)
    else:
        stages.launch(args, in_slurm)


def show_plan(args: argparse.Namespace, settings: Settings) -> None:
    """Print the jobs; durations come from comparable stages, else from the performance model."""
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
