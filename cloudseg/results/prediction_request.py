"""Checks the options of predict, before TensorFlow is imported, and runs the prediction."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from cloudseg.core import run
from cloudseg.core.errors import UsageError, to_type
from cloudseg.core.signals import stop
from cloudseg.geo import georeference
from cloudseg.geo.georeference import Georeference
from cloudseg.results import export, postprocess, submission
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
    references: dict[str, Georeference] = {}
    if args.format in export.GEOGRAPHIC:
        options = georeference.given(args.bounds, args.time, args.platform)
        references = {name: georeference.find(source.folder / name, options) for name in source.names}
    with rank.started(first, stop) as own:
        nowhere = [name for name, reference in references.items() if reference.bounds is None]
        if nowhere and own.comm.rank == 0:
            print(
                f"warning: {len(nowhere)} of {len(references)} pictures have no known place, for example {nowhere[0]}: "
                f"their coordinates are pixels; {georeference.HOW_TO_PLACE}",
                file=sys.stderr,
                flush=True,
            )
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
            runs, args.weights, source, rules, args.out, args.format, references, args.sample, flips, args.report, own
        )


def _check_output(args: argparse.Namespace) -> None:
    """Raises UsageError, with what to type, if --images or --out is missing, or --out does not fit --format."""
    if not args.images or not args.out:
        out = "submission.csv" if args.format == "csv" else "masks"
        raise UsageError(f"give the pictures and where the masks go: --images DIR --out {out}")
    if args.sample and args.format != "csv":
        raise UsageError(f"--sample is for submissions, not for --format {args.format}")
    located = [f"--{name}" for name in ("bounds", "time", "platform") if getattr(args, name) is not None]
    if located and args.format not in export.GEOGRAPHIC:
        forms = " or ".join(f"--format {form}" for form in export.GEOGRAPHIC)
        raise UsageError(f"{located[0]} is for formats with coordinates: {forms}")
    if args.format == "csv" and args.out.is_dir():
        file = shlex.quote(str(args.out / "submission.csv"))
        raise UsageError(f"{args.out} is a folder: give the submission's file, --out {file}")
    if args.format != "csv" and args.out.is_file():
        folder = shlex.quote(f"{args.out}-{args.format}")
        raise UsageError(f"{args.out} is a file: give a folder for the {args.format} files, --out {folder}")
