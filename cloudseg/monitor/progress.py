"""How far a stage is, from what it leaves in the run's folder."""

from __future__ import annotations

import csv
import dataclasses
import json

from cloudseg.core.attempt import Attempt
from cloudseg.core.run import Run


@dataclasses.dataclass(frozen=True)
class Progress:
    epochs: int
    """That the stage is to have."""
    epoch: int = 0
    """Epochs that are finished."""
    step: int = 0
    """Optimizer steps that are done."""
    dice: float | None = None
    """The best so far: of the validation images, at threshold 0.5."""
    images_per_s: float | None = None
    seconds: float = 0.0
    """Of the epochs so far."""
    waiting_s: float = 0.0
    """Of these, for input."""
    saving_s: float = 0.0
    """For which training stood still to save."""
    left_s: float | None = None
    """Until the last epoch is over, at the speed so far; without the start."""


def read(run: Run, stage: str) -> Progress:
    """The progress of a stage, from its history and what its ranks last said of themselves."""
    epochs = run.settings.stage[stage].epochs
    try:
        with run.history(stage).open(newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        rows = []
    step = max(int(rows[-1]["step"]) if rows else 0, _seen(run, stage), run.saved_step(stage))
    if not rows:
        return Progress(epochs, step=step)
    last = rows[-1]
    epoch, per_epoch = int(last["epoch"]), int(last["step"]) / int(last["epoch"])
    seconds = sum(float(row["seconds"]) for row in rows)
    left = max(0.0, epochs * per_epoch - step) * seconds / int(last["step"])
    return Progress(
        epochs,
        epoch,
        step,
        max(float(row["dice"]) for row in rows),
        float(last["images_per_s"]),
        seconds,
        sum(float(row["waiting_s"]) for row in rows),
        sum(float(row.get("saving_s") or 0) for row in rows),
        0.0 if run.done(stage) is not None else left,
    )


def _seen(run: Run, stage: str) -> int:
    """The step at which the ranks that now work on the stage were last seen."""
    try:
        owner = json.loads(run.lock(stage).read_text())
    except (OSError, ValueError):
        return 0
    folder = run.jobs / "attempts" / owner.get("attempt", "")
    return Attempt(folder).reached() if owner.get("attempt") and folder.is_dir() else 0
