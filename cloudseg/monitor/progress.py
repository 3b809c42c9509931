"""Progress of a stage, from its files in the folder of the run."""

from __future__ import annotations

import csv
import dataclasses
import json

from cloudseg.core.attempt import Attempt
from cloudseg.core.run import Run


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of one stage."""

    epochs: int
    """Number of epochs of the stage."""
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished optimizer steps."""
    preparation: str = ""
    """What the ranks that run the stage do before their first step, as "predicts 12 pictures"; else empty."""
    dice: float | None = None
    """Best Dice on the validation images so far, at threshold 0.5."""
    images_per_s: float | None = None
    """Throughput of all ranks in the last finished epoch."""
    seconds: float = 0.0
    """Duration of the finished epochs."""
    waiting_s: float = 0.0
    """Part of `seconds` that training waited for input."""
    saving_s: float = 0.0
    """Part of `seconds` that training waited for checkpoints."""
    left_s: float | None = None
    """Estimated seconds to the end of the last epoch at the throughput so far, without start-up."""


def read(run: Run, stage: str) -> Progress:
    """The progress of a stage, from history.csv, checkpoints and heartbeats."""
    epochs = run.settings.stage[stage].epochs
    try:
        with run.history(stage).open(newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        rows = []
    attempt = _current_attempt(run, stage)
    reached = attempt.last_step() if attempt else 0
    preparation = str(attempt.heartbeats().get(0, {}).get("preparation", "")) if attempt else ""
    step = max(int(rows[-1]["step"]) if rows else 0, reached, run.saved_step(stage))
    if not rows:
        return Progress(epochs, step=step, preparation=preparation)
    last = rows[-1]
    epoch, per_epoch = int(last["epoch"]), int(last["step"]) / int(last["epoch"])
    seconds = sum(float(row["seconds"]) for row in rows)
    left = max(0.0, epochs * per_epoch - step) * seconds / int(last["step"])
    return Progress(
        epochs,
        epoch,
        step,
        preparation,
        max(float(row["dice"]) for row in rows),
        float(last["images_per_s"]),
        seconds,
        sum(float(row["waiting_s"]) for row in rows),
        sum(float(row.get("saving_s") or 0) for row in rows),
        0.0 if run.done(stage) is not None else left,
    )


def _current_attempt(run: Run, stage: str) -> Attempt | None:
    """The attempt of the ranks that run the stage now; None without any."""
    try:
        owner = json.loads(run.lock(stage).read_text())
    except (OSError, ValueError):
        return None
    folder = run.jobs / "attempts" / owner.get("attempt", "")
    return Attempt(folder) if owner.get("attempt") and folder.is_dir() else None
