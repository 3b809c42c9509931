"""Checks the options of predict, before TensorFlow is imported, and runs the prediction."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import UsageError, to_type
from cloudseg.core.signals import stop
from cloudseg.geo import georeference, lattice
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.georeference import Georeference
from cloudseg.results import export, postprocess, submission
from cloudseg.results.scenes import Scenes
from cloudseg.results.sources import Pictures
from cloudseg.training import rank
from preprocess.images import MOST_PIXELS


def predict(args: argparse.Namespace) -> None:
    """Write the masks that the options of `cloudseg.predict` request. Raises UsageError for wrong options."""
    _check_output(args)
    trained = Trained.of(args)
    rows = list(submission.names(args.sample)) if args.sample else []
    wanted = list(dict.fromkeys(image for image, _ in rows)) if args.sample else None
    pictures = Pictures(args.images, wanted, args.skip_damaged)
    submission.refuse_names(pictures.names, args.format)
    references: dict[str, Georeference] = {}
    rasters: dict[str, Bounds] = {}
    if args.format in export.GEOGRAPHIC:
        options = georeference.given(args.bounds, args.time, args.platform)
        references = {name: georeference.find(pictures.folder / name, options) for name in pictures.names}
        rasters = rasters_of(pictures.folder, references, args.scale)
        whole = [name for name in pictures.names if name not in rasters]
        pictures = Pictures(args.images, whole, args.skip_damaged)
    with rank.started(trained.first, stop) as own:
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

        scenes = Scenes(pictures.folder, rasters, args.overlap, args.skip_damaged)
        inputs = prediction.Inputs(
            trained.runs, args.weights, pictures, scenes, references, trained.rules, trained.flips, args.scale
        )
        prediction.predict(inputs, prediction.Output(args.out, args.format, args.sample, args.report), own)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What the options --run, --with, --thresholds and --flips name."""

    first: run.Run
    """That of --run."""
    runs: list[run.Run]
    """With the folds of a cross-validation in its place."""
    rules: list[postprocess.Rule]
    flips: bool

    @classmethod
    def of(cls, args: argparse.Namespace) -> Trained:
        """Raises UsageError, with what to type, if there are no rules."""
        first, *others = [run.open_run(path) for path in (args.run, *args.others)]
        flips = args.flips
        if flips is None:
            flips = bool(first.metrics.exists() and json.loads(first.metrics.read_text())["flips"])
        thresholds = args.thresholds or first.evaluation / "thresholds.json"
        if not thresholds.exists():
            evaluate = to_type("cloudseg.evaluate", "--run", first.path)
            raise UsageError(f"{thresholds} is not there; type: {evaluate}")
        members = [member for each in (first, *others) for member in each.members()]
        return cls(first, members, list(postprocess.load(thresholds)), flips)


def rasters_of(folder: Path, references: Mapping[str, Georeference], scale: float) -> dict[str, Bounds]:
    """The pictures that are cut into scenes, with their bounds. `scale` is degrees per pixel of pictures whose place is
    unknown; 0 if it is unknown, too. Raises UsageError for a picture whose masks would be too large."""
    found = {}
    for name, reference in references.items():
        bounds, size = reference.bounds, georeference.upright_size(folder / name)
        if bounds is None and scale and size is not None:
            if math.prod(size) > MOST_PIXELS:
                raise UsageError(
                    f"{folder / name} is {size[1]}x{size[0]}, more than {MOST_PIXELS // 1_000_000} million pixels; "
                    "give its place instead of --scale, as masks with a place are on a coarser grid: --bounds W S E N"
                )
            bounds = lattice.placed(size, scale)
        if bounds is not None and not lattice.is_scene(bounds):
            found[name] = bounds
    return found


def _check_output(args: argparse.Namespace) -> None:
    """Raises UsageError, with what to type, if --images or --out is missing, or --out does not fit --format."""
    if not args.images or not args.out:
        out = "submission.csv" if args.format == "csv" else "masks"
        raise UsageError(f"give the pictures and where the masks go: --images DIR --out {out}")
    if args.sample and args.format != "csv":
        raise UsageError(f"--sample is for submissions, not for --format {args.format}")
    located = [f"--{name}" for name in ("bounds", "scale", "time", "platform") if getattr(args, name) not in (None, 0)]
    if located and args.format not in export.GEOGRAPHIC:
        forms = " or ".join(f"--format {form}" for form in export.GEOGRAPHIC)
        raise UsageError(f"{located[0]} is for formats with coordinates: {forms}")
    if args.format == "csv" and args.out.is_dir():
        file = shlex.quote(str(args.out / "submission.csv"))
        raise UsageError(f"{args.out} is a folder: give the submission's file, --out {file}")
    if args.format != "csv" and args.out.is_file():
        folder = shlex.quote(f"{args.out}-{args.format}")
        raise UsageError(f"{args.out} is a file: give a folder for the {args.format} files, --out {folder}")
