"""Checks the options of predict, before TensorFlow is imported, and runs the prediction."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from cloudseg.core import run
from cloudseg.core.errors import UsageError, to_type
from cloudseg.core.signals import stop
from cloudseg.results import postprocess, submission
from cloudseg.results.sources import Pictures
from cloudseg.training import rank


def predict(args: argparse.Namespace) -> None:
    """Write the masks that the options of `cloudseg.predict` request. Raises UsageError for wrong options."""
    _check_output(args)
    first, *others = [run.open_run(path) for path in (args.run, *args.others)]
    runs = [member for each in (first, *others) for member in each.members()]
    flips = args.flips
    if flips is None:
        flips = bool(first.metrics.exists() and json.loads(first.metrics.read_text())["flips"])
    thresholds = args.thresholds or first.evaluation / "thresholds.json"
    if not thresholds.exists():
        evaluate = to_type("cloudseg.evaluate", "--run", first.path)
        raise UsageError(f"{thresholds} is not there; type: {evaluate}")
    rules = postprocess.load(thresholds)
    rows = list(submission.names(args.sample)) if args.sample else []
    wanted = list(dict.fromkeys(image for image, _ in rows)) if args.sample else None
    source = Pictures(args.images, wanted, args.skip_damaged)
    submission.refuse_names(source.names, args.format)
    with rank.started(first, stop) as own:
        missing = submission.missing(rows)
        if missing and own.comm.rank == 0:
            print(
                f"warning: {args.sample} has no row for {len(missing)} labels of its images, for example {missing[0]}; "
                f"{args.out} will not have them either",
                file=sys.stderr,
                flush=True,
            )
        from cloudseg.results import prediction  # imports TensorFlow, after the checks

        prediction.predict(
            runs, args.weights, source, rules, args.out, args.format, args.sample, flips, args.report, own
        )


def _check_output(args: argparse.Namespace) -> None:
    """Raises UsageError, with what to type, if --images or --out is missing, or --out does not fit --format."""
    if not args.images or not args.out:
        out = "submission.csv" if args.format == "csv" else "masks"
        raise UsageError(f"give the pictures and where the masks go: --images DIR --out {out}")
    if args.sample and args.format != "csv":
        raise UsageError(f"--sample is for submissions, not for --format {args.format}")
    if args.format == "csv" and args.out.is_dir():
        file = shlex.quote(str(args.out / "submission.csv"))
        raise UsageError(f"{args.out} is a folder: give the submission's file, --out {file}")
    if args.format != "csv" and args.out.is_file():
        folder = shlex.quote(f"{args.out}-{args.format}")
        raise UsageError(f"{args.out} is a file: give a folder for the {args.format} files, --out {folder}")
