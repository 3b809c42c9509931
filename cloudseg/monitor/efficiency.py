"""What a stage took, and how well it used it: for `status` and the report."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from cloudseg.core import run as runs
from cloudseg.core.run import Run
from cloudseg.monitor import estimate, state
from cloudseg.monitor.state import StageState


@dataclasses.dataclass(frozen=True)
class Efficiency:
    name: str
    seconds: float
    """Of its epochs, validation included."""
    ranks: int
    images_per_s: float
    """Of a rank, in its last epoch."""
    scaling: float | None
    """That, over what one rank alone does; None if no run beside this one tells, or this one is alone."""
    waiting: float
    """Share of `seconds`, for input."""
    saving: float
    """Share of `seconds` for which training stood still to save."""
    queued_s: float | None
    """In the queue when it could have started; None where accounting cannot be asked, as on some clusters' nodes."""
    gpu_hours: float
    """Of all tries, as accounting has them; without it, of those that Slurm let end."""


def tables(run: Run) -> list[dict[str, Any]]:
    """Of every stage that trained, as JSON has it."""
    return [dataclasses.asdict(found) for each in state.look(run)[0] if (found := of(each))]


def of(stage: StageState) -> Efficiency | None:
    """Of a stage; None of one that has not finished an epoch, and of those that do not train."""
    at = stage.progress
    if at is None or not at.seconds:
        return None
    run = runs.open_run(stage.run)
    told = json.loads((run.stage(stage.stage) / "stage.json").read_text())
    ranks = told["ranks"]
    rate = (at.images_per_s or 0.0) / ranks
    others = estimate.like(run.settings, stage.stage, run.path.parent, told.get("partition"), "GPU" in told["device"])
    alone = [each.images_per_s for each in others if each.ranks == 1]
    return Efficiency(
        stage.name,
        at.seconds,
        ranks,
        rate,
        rate / max(alone) if alone and ranks > 1 else None,
        at.waiting_s / at.seconds,
        at.saving_s / at.seconds,
        stage.queued_s,
        _gpu_hours(run, stage.stage, ranks if "GPU" in told["device"] else 0)
        if stage.gpu_hours is None
        else stage.gpu_hours,
    )


def _gpu_hours(run: Run, stage: str, gpus: int) -> float:
    return sum(end["ended"] - end["began"] for end in run.past_attempts(stage)) * gpus / 3600
