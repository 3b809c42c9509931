"""Preprocessing before the first stage of a chain: a Slurm array with one task per shard, or on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.config import Settings
from cloudseg.core.errors import STOPPED, USAGE, CloudsegError, Stopped, UsageError, to_type
from cloudseg.data import image_size
from cloudseg.job import launcher
from cloudseg.slurm import script
from cloudseg.slurm.script import Job
from cloudseg.slurm.sites import Site

SHARDS = 32
"""Default of --shards, the same as in jobs/preprocess.slurm."""


NO_DATA = "DATA"
"""Placeholder for the data set in plans and scripts if none is named."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Options of preprocessing."""

    csv: Path
    images: Path
    size: str
    """Height x width in pixels, for example 320x480."""
    shards: int
    data: str
    """Output folder of the shards."""

    def command(self) -> list[str]:
        """The words after `python -m preprocess` on the command line."""
        options = {"--csv": self.csv.resolve(), "--images": self.images.resolve(), "--out": self.data,
                   "--size": self.size, "--shards": self.shards}  # fmt: skip
        return [str(part) for option in options.items() for part in option]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of preprocessing."""
    group = parser.add_argument_group("with --stages preprocess,all")
    group.add_argument("--csv", type=Path, metavar="train.csv", help="the competition's label table")
    group.add_argument("--images", type=Path, metavar="DIR", help="folder of the 2100x1400 JPEGs")
    group.add_argument(
        "--size",
        type=image_size.argument,
        default="320x480",
        metavar="HxW",
        help="size of the stored images (default %(default)s)",
    )
    group.add_argument(
        "--shards",
        type=int,
        default=SHARDS,
        metavar="N",
        help="number of shards, one task each (default %(default)s)",
    )


def source_of(args: argparse.Namespace, settings: Settings) -> Source | None:
    """The options of preprocessing if it is in args.stages, else None; removes it from args.stages.

    Raises UsageError if --csv or --images is missing or does not exist.
    """
    if run.PREPROCESS not in args.stages:
        return None
    args.stages.remove(run.PREPROCESS)
    if not args.csv or not args.images:
        named = settings.data != str(Path(NO_DATA).resolve())
        data = "" if named else f" --data {NO_DATA}"
        raise UsageError(f"--stages preprocess: from what? add: --csv train.csv --images train_images{data}")
    for path in (args.csv, args.images):
        if not path.exists() and not (args.plan or args.check or args.dry_run):
            raise UsageError(f"{path} is not there")
    return Source(args.csv, args.images, args.size, args.shards, settings.data)


def job(source: Source, site: Site, folder: Path, exports: tuple[tuple[str, str], ...]) -> Job:
    """The preprocessing array of the run in `folder`; the task that ends last writes the manifest."""
    return dataclasses.replace(
        script.preprocess_job(site, f"0-{source.shards - 1}"),
        command=f'python -u -m preprocess {shlex.join(source.command())} --shard-index "$SLURM_ARRAY_TASK_ID"',
        log=str(run.jobs_folder(folder) / f"{run.PREPROCESS}-%a.log"),
        exports=exports,
    )


def left_out_note(site: Site) -> str:
    """Line for the user if preprocessing does not get all sbatch options of the site; "" if it does."""
    if not (left_out := site.left_out(site.preprocess)):
        return ""
    return (
        f"note: preprocess: {' '.join(left_out)} of the site file left out, because its jobs have no GPUs; name "
        "its own options in the file: [preprocess] sbatch = []"
    )


def run_here(source: Source) -> None:
    """Make the shards on this machine.

    Raises UsageError or CloudsegError if preprocessing fails, after its own message; Stopped if a signal stopped it.
    """
    code = launcher.run_single(["-m", "preprocess", *source.command()])
    if code == STOPPED:
        raise Stopped("preprocessing stopped on a signal; the same command resumes")
    if code == USAGE:
        # launch has only some options of preprocess.
        command = to_type("preprocess", *source.command())
        raise UsageError(f"preprocessing refused this, see above; with further options type first: {command}")
    if code:
        raise CloudsegError(f"preprocessing failed with exit code {code}, see above; the same command resumes")
