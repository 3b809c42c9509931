"""The head of a chain: preprocessing as a Slurm array, a task a shard, or here."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from cloudseg import run
from cloudseg.cluster import slurm, steps
from cloudseg.cluster.sites import Site
from cloudseg.cluster.slurm import Job
from cloudseg.errors import STOPPED, USAGE, CloudsegError, Stopped, UsageError, to_type

SHARDS = 32
"""Unless --shards says otherwise; as many as jobs/preprocess.slurm makes."""


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


def job(source: Source, site: Site, folder: Path, exports: tuple[tuple[str, str], ...]) -> Job:
    """The array, for a run in `folder`; the last task to end writes the manifest."""
    return dataclasses.replace(
        slurm.preprocess_job(site, f"0-{source.shards - 1}"),
        command=f'python -u -m preprocess {shlex.join(source.command())} --shard-index "$SLURM_ARRAY_TASK_ID"',
        log=str(run.jobs_folder(folder) / f"{run.PREPROCESS}-%a.log"),
        exports=exports,
    )


def run_here(source: Source) -> None:
    """Make the shards on this machine. Raises CloudsegError, or UsageError, if that fails; why was said then. Raises
    Stopped if a signal stopped it."""
    code = steps.alone(["-m", "preprocess", *source.command()])
    if code == STOPPED:
        raise Stopped("preprocessing stopped on a signal; the same command goes on from there")
    if code == USAGE:
        # Of its options launch has a few only.
        command = to_type("preprocess", *source.command())
        raise UsageError(f"preprocessing refused this, see above; with further options type first: {command}")
    if code:
        raise CloudsegError(f"preprocessing ended with exit code {code}, see above; the same command goes on")
