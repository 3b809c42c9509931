"""The head of a chain: preprocessing as a Slurm array, a task a shard, or here."""

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
"""Unless --shards says otherwise; as many as jobs/preprocess.slurm makes."""


NO_DATA = "DATA"
"""The data set of plans and scripts where none is named."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What preprocessing is told."""

    csv: Path
    images: Path
    size: str
    """Height x width, as 320x480."""
    shards: int
    data: str
    """The folder for the shards."""

    def command(self) -> list[str]:
        """What follows `python -m preprocess`."""
        options = {"--csv": self.csv.resolve(), "--images": self.images.resolve(), "--out": self.data,
                   "--size": self.size, "--shards": self.shards}  # fmt: skip
        return [str(part) for option in options.items() for part in option]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --stages preprocess,all")
    group.add_argument("--csv", type=Path, metavar="train.csv", help="the competition's label table")
    group.add_argument("--images", type=Path, metavar="DIR", help="folder of the 2100x1400 JPEGs")
    group.add_argument(
        "--size",
        type=image_size.argument,
        default="320x480",
        metavar="HxW",
        help="of the stored images (default %(default)s)",
    )
    group.add_argument(
        "--shards",
        type=int,
        default=SHARDS,
        metavar="N",
        help="shards, a task each (default %(default)s)",
    )


def source_of(args: argparse.Namespace, settings: Settings) -> Source | None:
    """What is to be preprocessed first, if anything; it is no longer among args.stages. Raises UsageError if it is not
    said from what."""
    if run.PREPROCESS not in args.stages:
        return None
    args.stages.remove(run.PREPROCESS)
    if not args.csv or not args.images:
        named = settings.data != str(Path(NO_DATA).resolve())
        data = "" if named else f" --data {NO_DATA}"
        raise UsageError(f"--stages preprocess: from what? add: --csv train.csv --images train_images{data}")
    for path in (args.csv, args.images):
        if not path.exists() and not (args.plan or args.dry_run):
            raise UsageError(f"{path} is not there")
    return Source(args.csv, args.images, args.size, args.shards, settings.data)


def job(source: Source, site: Site, folder: Path, exports: tuple[tuple[str, str], ...]) -> Job:
    """The array, for a run in `folder`; the last task to end writes the manifest."""
    return dataclasses.replace(
        script.preprocess_job(site, f"0-{source.shards - 1}"),
        command=f'python -u -m preprocess {shlex.join(source.command())} --shard-index "$SLURM_ARRAY_TASK_ID"',
        log=str(run.jobs_folder(folder) / f"{run.PREPROCESS}-%a.log"),
        exports=exports,
    )


def run_here(source: Source) -> None:
    """Make the shards on this machine. Raises CloudsegError, or UsageError, if that fails; why was said then. Raises
    Stopped if a signal stopped it."""
    code = launcher.alone(["-m", "preprocess", *source.command()])
    if code == STOPPED:
        raise Stopped("preprocessing stopped on a signal; the same command goes on from there")
    if code == USAGE:
        # Of its options launch has a few only.
        command = to_type("preprocess", *source.command())
        raise UsageError(f"preprocessing refused this, see above; with further options type first: {command}")
    if code:
        raise CloudsegError(f"preprocessing ended with exit code {code}, see above; the same command goes on")
