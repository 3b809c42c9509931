"""How long a stage will take, from stages like it that are done."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

from cloudseg.core import provenance
from cloudseg.core import run as runs
from cloudseg.core.config import Settings
from cloudseg.core.errors import CloudsegError
from cloudseg.slurm import durations
from cloudseg.slurm.sites import Resources

START_S = 120.0
"""For starting Python on all nodes, building the network and compiling the first step."""
MARGIN = 1.5
"""Of the walltime over the estimate. A stage that needs more goes back into the queue, and on, by itself."""
LEAST_S = 1800


LIKE = ("network", "precision", "batch", "batchnorm", "augment", "compression")
"""Settings that decide how long an epoch takes, beside the data and what a job runs on; `encoder` of a stage too."""
LIKE_OF_STAGE = ("encoder", "train_bn", "accumulate")


def stage_seconds(settings: Settings, stage: str, ranks: int, where: Resources, folder: Path) -> float | None:
    """Seconds for `stage` on `ranks` ranks of jobs that ask for `where`; None if no run in `folder` did anything like
    it.

    Of those, one with as many ranks counts, then the latest; time is taken to fall with the number of ranks, the pace
    of an epoch (validation included) to be the median of its epochs.
    """
    found = list(like(settings, stage, folder, where.partition, where.gpus_per_node > 0))
    if not found:
        return None
    best = max(found, key=lambda each: (each.ranks == ranks, each.ended))
    return settings.stage[stage].epochs * best.epoch_s * best.ranks / ranks + START_S


@dataclasses.dataclass(frozen=True)
class Precedent:
    """A finished stage; of its epochs the medians."""

    ranks: int
    ended: float
    epoch_s: float
    images_per_s: float


def like(settings: Settings, stage: str, folder: Path, partition: str | None, gpus: bool) -> Iterator[Precedent]:
    """Finished stages of the runs in `folder` that differ from this one in nothing that decides how long an epoch
    takes: LIKE, LIKE_OF_STAGE, the data, the partition, GPUs or none.

    Stages that an earlier version ran do not say in which partition; `partition` None asks for any.
    """
    own, data = settings.stage[stage], provenance.data_digest(settings.data)
    for path in folder.glob("*/run.toml"):
        with contextlib.suppress(CloudsegError, OSError, ValueError, KeyError):
            found = runs.open_run(path.parent)
            theirs = found.settings
            if any(getattr(theirs, key) != getattr(settings, key) for key in LIKE):
                continue
            for name in theirs.stages:
                if any(getattr(theirs.stage[name], key) != getattr(own, key) for key in LIKE_OF_STAGE):
                    continue
                if found.done(name) is None:
                    continue
                told = json.loads((found.stage(name) / "stage.json").read_text())
                # What was made anew in the same folder is other data, what was moved is the same.
                if told.get("data_sha256") != data or (data is None and theirs.data != settings.data):
                    continue
                if partition and told.get("partition", partition) != partition:
                    continue
                if ("GPU" in told["device"]) != gpus:
                    continue
                with found.history(name).open(newline="") as file:
                    rows = list(csv.DictReader(file))
                seconds, rate = (
                    statistics.median(float(row[column]) for row in rows) for column in ("seconds", "images_per_s")
                )
                yield Precedent(told["ranks"], found.done_file(name).stat().st_mtime, seconds, rate)


def walltime(seconds: float, most: str) -> str:
    """What to ask sbatch for: the estimate with a margin, in whole minutes, but not more than `most`."""
    wanted = 60 * math.ceil(max(LEAST_S, MARGIN * seconds) / 60)
    longest = durations.seconds(most)
    return most if longest is not None and wanted >= longest else durations.text(wanted)
