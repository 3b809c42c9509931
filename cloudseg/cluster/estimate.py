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

from cloudseg import run as runs
from cloudseg.cluster import times
from cloudseg.config import Settings
from cloudseg.errors import CloudsegError

START_S = 120.0
"""For starting Python on all nodes, building the network and compiling the first step."""
MARGIN = 1.5
"""Of the walltime over the estimate. A stage that needs more goes back into the queue, and on, by itself."""
LEAST_S = 1800


def stage_seconds(settings: Settings, stage: str, ranks: int, folder: Path) -> float | None:
    """Seconds for `stage` on `ranks` ranks; None if no run in `folder` did anything like it.

    Of those, one with as many ranks counts, then the latest; time is taken to fall with the number of ranks, the pace
    of an epoch (validation included) to be the median of its epochs.
    """
    found = list(like(settings, stage, folder))
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


def like(settings: Settings, stage: str, folder: Path) -> Iterator[Precedent]:
    """Finished stages of the runs in `folder` with this one's network, data, precision and share of the encoder."""
    own = settings.stage[stage]
    for path in folder.glob("*/run.toml"):
        with contextlib.suppress(CloudsegError, OSError, ValueError, KeyError):
            found = runs.open_run(path.parent)
            theirs = found.settings
            if (theirs.network, theirs.data, theirs.precision) != (settings.network, settings.data, settings.precision):
                continue
            for name in theirs.stages:
                if theirs.stage[name].encoder != own.encoder or found.done(name) is None:
                    continue
                told = json.loads((found.stage(name) / "stage.json").read_text())
                with found.history(name).open(newline="") as file:
                    rows = list(csv.DictReader(file))
                seconds, rate = (
                    statistics.median(float(row[column]) for row in rows) for column in ("seconds", "images_per_s")
                )
                yield Precedent(told["ranks"], found.done_file(name).stat().st_mtime, seconds, rate)


def walltime(seconds: float, most: str) -> str:
    """What to ask sbatch for: the estimate with a margin, in whole minutes, but not more than `most`."""
    wanted = 60 * math.ceil(max(LEAST_S, MARGIN * seconds) / 60)
    longest = times.seconds(most)
    return most if longest is not None and wanted >= longest else times.text(wanted)
