"""Segment a folder of pictures with a trained run, or check a submission.

python -m cloudseg.predict --run runs/NAME --images test_images --sample sample_submission.csv --out submission.csv
python -m cloudseg.predict --run runs/NAME --images DIR --out masks --format geojson --report masks.html
python -m cloudseg.predict --run runs/a --with runs/b --weights 2 1 --images DIR --out submission.csv
srun --ntasks-per-node=4 python -m cloudseg.predict --run runs/NAME --images DIR --out submission.csv
python -m cloudseg.predict --check submission.csv --sample sample_submission.csv

JPEG, PNG and TIFF (GeoTIFF) pictures of any size. Masks are cut by the rules that `cloudseg.evaluate` chose.
Probabilities are kept in RUN/probabilities: stopped, the same command goes on; with other rules it needs no GPU.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import FAILED, UsageError, run_command, to_type
from cloudseg.core.signals import stop
from cloudseg.training import rank


def parser() -> argparse.ArgumentParser:
    out = run.parser("predict", __doc__)
    add = out.add_argument
    add("--images", type=Path, metavar="DIR", help="folder of pictures")
    add("--out", type=Path, metavar="FILE", help="the submission; with --format png or geojson, a folder")
    add("--format", choices=("csv", "png", "geojson"), default="csv", help="(default %(default)s)")
    add("--sample", type=Path, metavar="FILE", help="sample_submission.csv: which rows, in which order")
    add("--with", dest="others", nargs="+", type=Path, default=[], metavar="RUN", help="more runs: an ensemble")
    add("--weights", nargs="+", type=float, metavar="W", help="how much each run counts (default: 1)")
    add("--thresholds", type=Path, metavar="FILE", help="rules (default: the run's evaluate/thresholds.json)")
    add("--flips", action=argparse.BooleanOptionalAction, help="mean over mirror images (default: as evaluated)")
    add("--report", type=Path, metavar="FILE", help="also a page (HTML) with some of the pictures and their masks")
    add("--skip-damaged", action="store_true", help="empty masks for pictures that cannot be read")
    add("--check", type=Path, metavar="FILE", help="only say what is wrong with this submission")
    return out


def main() -> int | None:
    args = parser().parse_args()
    if args.check:
        from cloudseg.results import submission

        return None if submission.print_check(args.check, args.sample) else FAILED
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
    first, *others = [run.open_run(path) for path in (args.run, *args.others)]
    runs = [member for each in (first, *others) for member in each.members()]
    flips = args.flips
    if flips is None:
        flips = bool(first.metrics.exists() and json.loads(first.metrics.read_text())["flips"])

    from cloudseg.results import postprocess, submission
    from cloudseg.results.sources import Pictures

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
        lacking = submission.missing(rows)
        if lacking and own.comm.rank == 0:
            text = f"{len(lacking)} rows of its images, such as {lacking[0]}: neither will {args.out} have them"
            print(f"warning: {args.sample} lacks {text}", file=sys.stderr, flush=True)
        from cloudseg.results.prediction import predict

        predict(runs, args.weights, source, rules, args.out, args.format, args.sample, flips, args.report, own)
    return None


if __name__ == "__main__":
    run_command(main)
