"""Launches the remaining stages of a run: queues them, or runs them on this machine."""

from __future__ import annotations

import argparse

from cloudseg.chain import begin, cross_validation, launch_options, local, preflight, preprocessing, queueing, selection


def launch(args: argparse.Namespace, in_slurm: bool) -> None:
    """Queue the stages of `args` that are not done, or run them on this machine."""
    prepared = begin.run(args.run, selection.given(args), data_to_come=args.source is not None)
    if prepared.has_data():
        args.source = None
    if args.source and not in_slurm:
        preprocessing.run_here(args.source)
        args.source = None
    if not args.stages:  # preprocessing alone was asked for
        if args.source:
            with queueing.launch_lock(prepared, args):
                queueing.queue_chain(prepared, [], args)
        else:
            print(f"preprocess: done; shards: {prepared.settings.data}")
        return
    if prepared.settings.folds:
        cross_validation.launch(prepared, args, in_slurm)
        return
    selection.require_before([prepared], args.stages, args.source is not None)
    remaining = selection.remaining(prepared, args.stages)
    if not remaining:
        print(f"{', '.join(args.stages)}: all done in {args.run}; results: {prepared.metrics}")
        return
    preflight.check_run(prepared.settings, data_to_come=args.source is not None)
    if in_slurm:
        with queueing.launch_lock(prepared, args):
            queueing.queue_chain(prepared, remaining, args)
    else:
        launch_options.save(prepared, args)
        local.run_stages(prepared, remaining, args.tasks_per_node or 1)
        print(f"results: {prepared.metrics}")
