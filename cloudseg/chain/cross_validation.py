"""Launches a cross-validation: the remaining stages of each fold, and the evaluation of all folds."""

from __future__ import annotations

import argparse

from cloudseg.chain import folds, launch_options, local, plan, preflight, queueing, selection, snapshot
from cloudseg.core import run
from cloudseg.core.errors import UsageError, to_type
from cloudseg.core.run import Run


def launch(parent: Run, args: argparse.Namespace, in_slurm: bool) -> None:
    """Queue the remaining stages of the cross-validation `parent`, or run them on this machine."""
    preflight.check_run(parent.settings, data_to_come=args.source is not None)
    training = [stage for stage in args.stages if stage != run.EVALUATE]
    members = folds.prepare(parent, args.source is not None)
    selection.require_before(members, training, args.source is not None)
    remaining = {member.settings.fold: selection.remaining(member, training) for member in members}
    evaluating = run.EVALUATE in args.stages and (any(remaining.values()) or not parent.done(run.EVALUATE))
    if not any(remaining.values()) and not evaluating:
        print(f"{', '.join(args.stages)}: all done in {args.run}; results: {parent.metrics}")
    elif in_slurm:
        with queueing.launch_lock(parent, args):
            _queue(parent, remaining, evaluating, args)
    else:
        launch_options.save(parent, args)
        for fold, stages in remaining.items():
            print(f"fold {fold}: {', '.join(stages) or 'all done'}", flush=True)
            local.run_stages(run.open_run(parent.member(fold)), stages, args.tasks_per_node or 1)
        if evaluating:
            local.run_stages(parent, [run.EVALUATE], args.tasks_per_node or 1)
            print(f"results: {parent.metrics}")


def _queue(parent: Run, remaining: dict[int, list[str]], evaluating: bool, args: argparse.Namespace) -> None:
    """Submit arrays for the `remaining` stages of each fold, and the evaluation. Folds with active jobs are skipped."""
    active = folds.active(parent)
    for fold in [fold for fold in remaining if active[fold]]:
        # Stages after the last queued one would be missing in the evaluation.
        last = max((remaining[fold].index(stage) for stage in active[fold] if stage in remaining[fold]), default=-1)
        if more := remaining[fold][last + 1 :]:
            raise UsageError(
                f"fold {fold} has {', '.join(active[fold])} in the queue; {', '.join(more)} can be queued when that "
                f"has ended, or after: {to_type('cloudseg.cancel', args.run)}"
            )
        listed = ", ".join(f"{stage} {number}" for stage, number in active[fold].items())
        print(f"fold {fold} is queued already, and not queued twice: {listed}")
        remaining.pop(fold)
    if not any(remaining.values()) and (active[None] or not evaluating):
        print(f"to stop them: {to_type('cloudseg.cancel', args.run)}")
        return
    training = dict.fromkeys(stage for stages in remaining.values() for stage in stages)
    code = snapshot.code(parent.path, args.no_snapshot)
    jobs = plan.stage_jobs(
        parent.path, [*training, *([run.EVALUATE] if evaluating else [])], args, code, parent.settings
    )
    arrays = [job for _, job in folds.scripts(parent.path, remaining, jobs, "")]
    queueing.require_limits(parent, args, code, arrays)
    folds.submit(parent, remaining, jobs, queueing.announce, queueing.queue_preprocessing(parent, args, code))
    queueing.epilogue(
        parent, args, "each stage of a fold starts when the one before has succeeded, the evaluation after all folds"
    )
