"""Prints the sbatch scripts of a launch."""

from __future__ import annotations

import argparse
import sys

from cloudseg.chain import folds, plan, preprocessing, selection, snapshot
from cloudseg.core import config, run
from cloudseg.core.config import Settings
from cloudseg.core.errors import UsageError
from cloudseg.data.shards import Manifest
from cloudseg.slurm import script, sites


def show(args: argparse.Namespace, settings: Settings) -> None:
    """Print the scripts that launch would submit. Requires no data, no Slurm and no TensorFlow."""
    folder = args.run.resolve()
    code, after = snapshot.code(folder, args.no_snapshot, dry_run=True), ""
    jobs = plan.stage_jobs(folder, args.stages, args, code, settings)
    if args.source:
        after = f"JOB_ID_OF_{run.PREPROCESS.upper()}"
        if note := preprocessing.left_out_note(sites.load(args.site)):
            print(note, file=sys.stderr)
        print(f"# sbatch script of {run.PREPROCESS}\n{script.script(plan.preprocessing_job(folder, args, code))}")
    if settings.folds:
        training = [stage for stage in args.stages if stage != run.EVALUATE]
        scripts = folds.scripts(folder, dict.fromkeys(settings.folds, training), jobs, after)
    else:
        scripts = plan.scripts(jobs, after)
    for title, job in scripts:
        print(f"# sbatch script of {title}\n{script.script(job)}")
    try:
        layers = [*config.from_environment(), *selection.given(args)]
        Manifest.load(run.open_run(args.run).settings.data if not layers else config.resolve(layers).data)
    except UsageError as error:
        print(f"note: without --dry-run this would fail: {error}", file=sys.stderr)
