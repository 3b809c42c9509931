"""Launches the stages of a run that are not done: queues them, or runs them here."""

from __future__ import annotations

import argparse

from cloudseg.chain import begin, cross_validation, launched, local, preflight, preprocessing, queueing, selection


def launch(args: argparse.Namespace, in_slurm: bool) -> None:
    """Queue, or run here, the stages of `args` that are not done."""
    prepared = begin.run(args.run, selection.given(args), data_to_come=args.source is not None)
    if prepared.has_data():
        args.source = None
    if args.source and not in_slurm:
        preprocessing.run_here(args.source)
        args.source = None
    if prepared.settings.folds:
        cross_validation.launch(prepared, args, in_slurm)
        return
    selection.require_before([prepared], args.stages, args.source is not None)
    left = selection.remaining(prepared, args.stages)
    if not left:
        print(f"{', '.join(args.stages)}: all done in {args.run}; results: {prepared.metrics}")
        return
    preflight.check_run(prepared.settings, data_to_come=args.source is not None)
    if in_slurm:
        with queueing.queueing(prepared, args):
            queueing.queue_chain(prepared, left, args)
    else:
        launched.keep(prepared, args)
        local.run_stages(prepared, left, args.tasks_per_node or 1)
        print(f"results: {prepared.metrics}")
