"""The output of `status` as lines of text. Pure, except that it reads the end of a log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudseg.core import run, tables
from cloudseg.core.errors import to_type
from cloudseg.core.run import Run
from cloudseg.monitor import efficiency, state
from cloudseg.monitor.efficiency import Efficiency
from cloudseg.monitor.state import StageState

LAST_LINES = 8
COLUMNS = ("stage", "state", "epoch", "step", "dice", "images/s", "left", "restarts", "job")
COSTS = (
    "stage", "training", "images/s per rank", "of one rank", "waiting for input", "saving", "in the queue", "GPU h",
)  # fmt: skip
"""Columns for a chain that is done; "of one rank": scaling relative to a comparable stage on one rank."""


def lines(opened: Run, states: Sequence[StageState], remarks: Sequence[str]) -> Iterator[str]:
    """All lines of the output: states, costs when all is done, explanations, end of a log, and what to type next."""
    settings = opened.settings
    yield f"{opened.path}: {settings.network}, recipe {settings.recipe}; {time.strftime('%Y-%m-%d %H:%M:%S')}"
    yield ""
    yield from tables.table([COLUMNS, *map(row, states)])
    if all(each.state == state.DONE for each in states):
        yield ""
        yield from tables.table(
            [COSTS, *(costs(measured) for each in states if (measured := efficiency.of_stage(each)))]
        )
    explanations = [f"{each.name}: {each.why}" for each in states if each.why]
    if explanations or remarks:
        yield ""
        yield from (*explanations, *remarks)
    shown = next((each for each in states if each.state in (*state.TROUBLE, state.RUNNING)), None)
    log = run.jobs_folder(shown.run) / f"{shown.stage}.log" if shown else None
    if log and log.exists():
        yield f"\nthe last lines of {log}:"
        yield from (f"  {line}" for line in last_lines(log))
    yield f"\n{advice(opened, states)}"


def row(stage: StageState) -> tuple[str, ...]:
    """The row of a stage, with the columns COLUMNS."""
    at = stage.progress
    return (
        stage.name,
        stage.state,
        f"{at.epoch} of {at.epochs}" if at else "",
        str(at.step) if at and at.step else "",
        f"{at.dice:.3f}" if at and at.dice is not None else "",
        f"{at.images_per_s:.1f}" if at and at.images_per_s else "",
        tables.span(at.left_s) if at and at.left_s and stage.state == state.RUNNING else "",
        str(stage.restarts or ""),
        f"{stage.job or ''}{f' on {stage.nodes}' if stage.nodes else ''}",
    )


def costs(measured: Efficiency) -> tuple[str, ...]:
    """The row of a stage, with the columns COSTS."""
    return (
        measured.name,
        tables.span(measured.seconds),
        f"{measured.images_per_s:.1f}",
        f"{measured.scaling:.0%}" if measured.scaling is not None else "",
        f"{measured.waiting:.1%}",
        f"{measured.saving:.1%}",
        tables.span(measured.queued_s) if measured.queued_s else "",
        f"{measured.gpu_hours:.1f}" if measured.gpu_hours else "",
    )


def advice(opened: Run, states: Sequence[StageState]) -> str:
    """The last line: what to type next."""
    path = opened.path
    if all(each.state == state.DONE for each in states):
        return f"all done; results: {opened.metrics if opened.settings.folds else opened.report}"
    if any(each.state in state.TROUBLE for each in states):
        return f"resume from the first stage that is not done: {to_type('cloudseg.resume', path)}"
    if any(each.state in (state.RUNNING, state.QUEUED, state.REQUEUED) for each in states):
        follow = to_type("cloudseg.logs", path, "--follow")
        return f"follow: {follow}; stop all: {to_type('cloudseg.cancel', path)}"
    if opened.has_data():
        return f"start: {to_type('cloudseg.launch', '--stages', 'all', '--run', path)}"
    source = ("--csv", "train.csv", "--images", "train_images")
    return (
        f"make the shards and start: {to_type('cloudseg.launch', '--stages', 'preprocess,all', *source, '--run', path)}"
    )


def last_lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """The last lines of a file, without reading all of it."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 200 * count))
        return file.read().decode(errors="replace").splitlines()[-count:]
