"""Predictions of the performance model as rows of a table and a line of advice. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from cloudseg.core import tables
from cloudseg.performance import model
from cloudseg.performance.model import Step
from cloudseg.performance.stage_time import StageModel

COLUMNS = ("GPUs", "step ms", "exposed comm. ms", "images/s", "efficiency", "stage", "GPU h")


def row(one: Step, seconds: float) -> tuple[str, ...]:
    """The row of a step, with the columns COLUMNS; `seconds`: duration of the stage."""
    return (
        str(one.ranks),
        f"{1000 * (one.compute_s + one.waiting_s):.1f}",
        f"{1000 * one.waiting_s:.1f}",
        f"{one.images_per_s:.0f}",
        f"{one.efficiency:.0%}",
        tables.span(seconds),
        f"{seconds * one.ranks / 3600:.1f}",
    )


def advice(stage: StageModel, steps: list[Step]) -> Iterator[str]:
    """The number of GPUs beyond which doubling is not worthwhile, the reason, and the effect of a larger batch."""
    if len(steps) == 1:
        return
    best = model.largest_worthwhile({one.ranks: stage.seconds(one.ranks) for one in steps})
    at = next(one for one in steps if one.ranks == best)
    beyond = next((one for one in steps if one.ranks > best), at)
    yield f"Beyond {best} GPUs, doubling the GPUs makes the stage less than {model.PAYS:g} times as fast: " + (
        f"{1 - beyond.efficiency:.0%} of a step is exposed communication."
        if beyond.efficiency < 1 / model.PAYS
        else f"the start takes {model.estimate.START_S:.0f} s, and a step has {beyond.images} images."
    )
    doubled = dataclasses.replace(stage, batch=2 * stage.batch)
    best_doubled = model.largest_worthwhile({one.ranks: doubled.seconds(one.ranks) for one in steps})
    if best_doubled > best:
        yield f"With twice the batch, beyond {best_doubled} GPUs."
