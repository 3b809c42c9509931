"""How long a stage will take, from stages like it that are done."""

from __future__ import annotations

import contextlib
import csv
import json
import math
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

    The latest stage of the same network, data, precision and share of the encoder counts; time is taken to fall with
    the number of ranks, the pace of an epoch (validation included) to be the median of its epochs.
    """
    own = settings.stage[stage]
    likest: tuple[bool, float, float] | None = None
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
                pace = _epoch_seconds(found.history(name)) * told["ranks"] / ranks
                when = found.done_file(name).stat().st_mtime
                candidate = (told["ranks"] == ranks, when, own.epochs * pace + START_S)
                likest = max(likest, candidate) if likest else candidate
    return likest[2] if likest else None


def walltime(seconds: float, most: str) -> str:
    """What to ask sbatch for: the estimate with a margin, in whole minutes, but not more than `most`."""
    wanted = 60 * math.ceil(max(LEAST_S, MARGIN * seconds) / 60)
    longest = times.seconds(most)
    return most if longest is not None and wanted >= longest else times.text(wanted)


def _epoch_seconds(history: Path) -> float:
    with history.open(newline="") as file:
        epochs = sorted(float(row["seconds"]) for row in csv.DictReader(file))
    return epochs[len(epochs) // 2]
