"""Settings of preprocessing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cloudseg.core.errors import UsageError
from cloudseg.data.labels import LabelTable
from preprocess.groups import NAMES


@dataclass(frozen=True)
class Settings:
    """Settings that determine the bytes of every shard.

    `size` is (height, width) of the stored images. With `shards` None, the number of shards follows from the size of
    the data. With `allow_resize`, images of other sizes than the competition's are accepted. `groups` is the path of a
    table of provenance or `groups.NAMES`, if images that show the same clouds are to be in one fold.
    """

    table: LabelTable
    images: Path
    out: Path
    size: tuple[int, int] = (320, 480)
    shards: int | None = None
    folds: int = 5
    seed: int = 0
    allow_resize: bool = False
    groups: str | None = None

    def check(self) -> None:
        """Raises UsageError, which says what to type, for invalid settings."""
        if not self.table.path.exists():
            raise UsageError(
                f"{self.table.path} is not there: give the competition's label table with --csv train.csv, or the "
                "published boxes with --boxes FILE"
            )
        if not self.images.is_dir():
            raise UsageError(f"{self.images} is not a folder: give the folder of the JPEGs with --images DIR")
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is not a folder: give a folder for the shards with --out DATA")
        if self.folds < 2:
            raise UsageError(f"--folds {self.folds}: at least 2 are needed, one of them for validation")
        if self.groups and self.groups != NAMES and not Path(self.groups).exists():
            raise UsageError(
                f"--groups {self.groups} is not there: give a table with the columns image,nasa_file, or --groups "
                f"{NAMES} if the images have the names of NASA's files"
            )
        if self.shards is not None and self.shards < 1:
            raise UsageError(f"--shards {self.shards}: at least 1 is needed")


def available_cpus() -> int:
    """Number of CPUs that this process may use; within a Slurm task at most SLURM_CPUS_PER_TASK."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(allowed, int(given)) if given.isdecimal() and int(given) else allowed
