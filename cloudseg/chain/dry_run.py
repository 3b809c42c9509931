"""The jobs of a launch before they are submitted; prints their sbatch scripts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from cloudseg.chain import folds, plan, preprocessing, selection, snapshot
from cloudseg.core import config, run
from cloudseg.core.config import Settings
from cloudseg.core.errors import UsageError
from cloudseg.data.shards import Manifest
from cloudseg.slurm import script, sites
from cloudseg.slurm.script import Job


def show(args: argparse.Namespace, settings: Settings) -> None:
    """Print the scripts that launch would submit. Requires no data, no Slurm and no TensorFlow."""
    if args.source and (note := preprocessing.left_out_note(sites.load(args.site))):
        print(note, file=sys.stderr)
    for title, job in jobs(args, settings):
        print(f"# sbatch script of {title}\n{script.script(job)}")
    try:
        layers = [*config.from_environment(), *selection.given(args)]
        Manifest.load(run.open_run(args.run).settings.data if not layers else config.resolve(layers).data)
    except UsageError as error:
        print(f"note: without --dry-run this would fail: {error}", file=sys.stderr)


def jobs(args: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Job]]:
    """Pairs of (title, job) that launch would submit, in its order; names of jobs in place of the ids of jobs."""
    folder = args.run.resolve()
    code, after = snapshot.code(folder, args.no_snapshot, dry_run=True), ""
    stages = plan.stage_jobs(folder, args.stages, args, code, settings)
    if args.source:
        after = f"JOB_ID_OF_{run.PREPROCESS.upper()}"
        yield run.PREPROCESS, plan.preprocessing_job(folder, args, code)
    if settings.folds:
        training = [stage for stage in args.stages if stage != run.EVALUATE]
        yield from folds.scripts(folder, dict.fromkeys(settings.folds, training), stages, after)
    else:
        yield from plan.scripts(stages, after)
