"""Launches a cross-validation: what is left of each fold, and the evaluation of all."""

from __future__ import annotations

import argparse

from cloudseg.chain import folds, launched, local, plan, preflight, queueing, selection, snapshot
from cloudseg.core import run
from cloudseg.core.errors import UsageError, to_type
from cloudseg.core.run import Run


def launch(whole: Run, args: argparse.Namespace, in_slurm: bool) -> None:
    """Queue, or run here, what is left of a cross-validation."""
    preflight.check_run(whole.settings, data_to_come=args.source is not None)
    training = [stage for stage in args.stages if stage != run.EVALUATE]
    members = folds.prepare(whole, args.source is not None)
    selection.require_before(members, training, args.source is not None)
    left = {member.settings.fold: selection.remaining(member, training) for member in members}
    judging = run.EVALUATE in args.stages and (any(left.values()) or not whole.done(run.EVALUATE))
    if not any(left.values()) and not judging:
        print(f"{', '.join(args.stages)}: all done in {args.run}; results: {whole.metrics}")
    elif in_slurm:
        with queueing.queueing(whole, args):
            _queue(whole, left, judging, args)
    else:
        launched.keep(whole, args)
        for fold, stages in left.items():
            print(f"fold {fold}: {', '.join(stages) or 'all done'}", flush=True)
            local.run_stages(run.open_run(whole.member(fold)), stages, args.tasks_per_node or 1)
        if judging:
            local.run_stages(whole, [run.EVALUATE], args.tasks_per_node or 1)
            print(f"results: {whole.metrics}")


def _queue(whole: Run, left: dict[int, list[str]], judging: bool, args: argparse.Namespace) -> None:
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
    todo = plan.stage_jobs(whole.path, stages, args, code, whole.settings)
    folds.submit(whole, left, todo, queueing.announce, queueing.queue_preprocessing(whole, args, code))
    queueing.epilogue(
        whole, args, "each fold's stage starts when the one before has succeeded, the evaluation after all"
    )
