"""Cost and efficiency of stages, for `status` and the report: throughput, waiting times, GPU hours."""

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
    """Cost and efficiency of one stage."""

    name: str
    seconds: float
    """Duration of its epochs, including validation."""
    ranks: int
    images_per_s: float
    """Throughput per rank in the last epoch."""
    scaling: float | None
    """`images_per_s` over that of a comparable stage on one rank; None without such a stage, or on one rank."""
    waiting: float
    """Share of `seconds` that training waits for input."""
    saving: float
    """Share of `seconds` that training waits for checkpoints."""
    queued_s: float | None
    """Seconds in the queue when the job could have started; None without accounting, as on some compute nodes."""
    gpu_hours: float
    """GPU hours of all attempts from accounting; without it, of the attempts in attempts.jsonl."""


def tables(run: Run) -> list[dict[str, Any]]:
    """Efficiency of each stage with a finished epoch, as dictionaries for JSON."""
    return [dataclasses.asdict(efficiency) for stage in state.query(run)[0] if (efficiency := of_stage(stage))]


def of_stage(stage: StageState) -> Efficiency | None:
    """Efficiency of a stage; None without a finished epoch, and for jobs that do not train."""
    progress = stage.progress
    if progress is None or not progress.seconds:
        return None
    run = runs.open_run(stage.run)
    facts = json.loads((run.stage(stage.stage) / "stage.json").read_text())
    ranks, on_gpus = facts["ranks"], "GPU" in facts["device"]
    rate = (progress.images_per_s or 0.0) / ranks
    comparable = estimate.comparable_stages(run.settings, stage.stage, run.path.parent, facts.get("partition"), on_gpus)
    single_rank = [each.images_per_s for each in comparable if each.ranks == 1]
    return Efficiency(
        stage.name,
        progress.seconds,
        ranks,
        rate,
        rate / max(single_rank) if single_rank and ranks > 1 else None,
        progress.waiting_s / progress.seconds,
        progress.saving_s / progress.seconds,
        stage.queued_s,
        _gpu_hours(run, stage.stage, ranks if on_gpus else 0) if stage.gpu_hours is None else stage.gpu_hours,
    )


def _gpu_hours(run: Run, stage: str, gpus: int) -> float:
    """GPU hours of the attempts in attempts.jsonl, with `gpus` GPUs each."""
    return sum(end["ended"] - end["began"] for end in run.past_attempts(stage)) * gpus / 3600
