"""What the performance model says of a stage, as rows of a table and a line of advice. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from cloudseg.core import tables
from cloudseg.performance import model
from cloudseg.performance.model import Step
from cloudseg.performance.stage_time import StageModel

COLUMNS = ("GPUs", "step ms", "waits ms", "images/s", "efficiency", "stage", "GPU h")


def row(one: Step, seconds: float) -> tuple[str, ...]:
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
    """Where doubling stops to pay, why, and whether a larger batch would move that."""
    if len(steps) == 1:
        return
    best = model.largest_worthwhile({one.ranks: stage.seconds(one.ranks) for one in steps})
    at = next(one for one in steps if one.ranks == best)
    beyond = next((one for one in steps if one.ranks > best), at)
    yield f"Beyond {best} GPUs doubling makes the stage less than {model.PAYS:g} times as fast: " + (
        f"{1 - beyond.efficiency:.0%} of a step would be waiting for other GPUs."
        if beyond.efficiency < 1 / model.PAYS
        else f"starting takes {model.estimate.START_S:.0f} s, and a step takes {beyond.images} of its images at once."
    )
    larger = dataclasses.replace(stage, batch=2 * stage.batch)
    then = model.largest_worthwhile({one.ranks: larger.seconds(one.ranks) for one in steps})
    if then > best:
        yield f"With twice the batch, beyond {then}."
