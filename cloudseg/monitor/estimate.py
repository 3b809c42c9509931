"""Estimates the duration of a stage from comparable finished stages."""

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
"""Seconds to start Python on all nodes, build the network and compile the first step."""
MARGIN = 1.5
"""Walltime over the estimate. A stage that needs more time requeues itself and resumes."""
LEAST_S = 1800
"""Minimum walltime in seconds."""


COMPARED_SETTINGS = (
    "network", "precision", "batch", "batchnorm", "augment", "augment_also", "crop", "compression", "train_images",
)  # fmt: skip
"""Settings of a run that affect the duration of an epoch. The data, the partition and the device are compared too."""
COMPARED_STAGE_SETTINGS = ("encoder", "train_bn", "accumulate")
"""Settings of a stage that affect the duration of an epoch."""


def stage_seconds(settings: Settings, stage: str, ranks: int, where: Resources, folder: Path) -> float | None:
    """Estimated seconds of `stage` on `ranks` ranks of jobs with the resources `where`.

    The estimate uses one comparable finished stage of the runs in `folder`: with the same number of ranks if there is
    one, else the latest. It assumes that the duration is inversely proportional to the number of ranks, and takes the
    median duration of the epochs, including validation. None without a comparable stage, and for a stage that labels
    pictures, as nobody knows on how many of them it will train.
    """
    if settings.labels_pictures(stage):
        return None
    comparable = list(comparable_stages(settings, stage, folder, where.partition, where.gpus_per_node > 0))
    if not comparable:
        return None
    best = max(comparable, key=lambda each: (each.ranks == ranks, each.ended))
    return settings.stage[stage].epochs * best.epoch_s * best.ranks / ranks + START_S


@dataclasses.dataclass(frozen=True)
class FinishedStage:
    """Number of ranks, end (seconds since 1970), and medians over the epochs of a finished stage."""

    ranks: int
    ended: float
    epoch_s: float
    images_per_s: float


def comparable_stages(
    settings: Settings, stage: str, folder: Path, partition: str | None, gpus: bool
) -> Iterator[FinishedStage]:
    """Comparable finished stages of the runs in `folder`.

    They have the same COMPARED_SETTINGS, COMPARED_STAGE_SETTINGS and data, ran in the same `partition` (None for any;
    stages of earlier versions do not record it), and on GPUs if `gpus`, else on CPUs.
    """
    stage_settings, data = settings.stage[stage], provenance.data_digest(settings.data)
    for path in folder.glob("*/run.toml"):
        with contextlib.suppress(CloudsegError, OSError, ValueError, KeyError):
            other = runs.open_run(path.parent)
            if any(getattr(other.settings, key) != getattr(settings, key) for key in COMPARED_SETTINGS):
                continue
            for name in other.settings.stages:
                other_stage = other.settings.stage[name]
                if any(getattr(other_stage, key) != getattr(stage_settings, key) for key in COMPARED_STAGE_SETTINGS):
                    continue
                if other.settings.labels_pictures(name):
                    continue
                if other.done(name) is None:
                    continue
                facts = json.loads((other.stage(name) / "stage.json").read_text())
                # The digest identifies the data: new shards in the same folder differ, moved shards do not.
                if facts.get("data_sha256") != data or (data is None and other.settings.data != settings.data):
                    continue
                if partition and facts.get("partition", partition) != partition:
                    continue
                if ("GPU" in facts["device"]) != gpus:
                    continue
                with other.history(name).open(newline="") as file:
                    rows = list(csv.DictReader(file))
                seconds, rate = (
                    statistics.median(float(row[column]) for row in rows) for column in ("seconds", "images_per_s")
                )
                yield FinishedStage(facts["ranks"], other.done_file(name).stat().st_mtime, seconds, rate)


def walltime(seconds: float, limit: str) -> str:
    """Walltime for an estimate in seconds: with MARGIN, in whole minutes, at least LEAST_S and at most `limit`."""
    wanted = 60 * math.ceil(max(LEAST_S, MARGIN * seconds) / 60)
    limit_s = durations.seconds(limit)
    return limit if limit_s is not None and wanted >= limit_s else durations.text(wanted)
