"""What `status` shows of a run, as lines of text. Pure, but for the end of a log."""

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
    "stage", "training", "images/s a rank", "of one rank alone", "waiting for input", "saving", "in the queue", "GPU h",
)  # fmt: skip
"""Of a chain that is done; one rank alone, where a run beside this one tells."""


def lines(opened: Run, states: Sequence[StageState], remarks: Sequence[str]) -> Iterator[str]:
    """The lines that are shown."""
    settings = opened.settings
    yield f"{opened.path}: {settings.network}, recipe {settings.recipe}; {time.strftime('%Y-%m-%d %H:%M:%S')}"
    yield ""
    yield from tables.table([COLUMNS, *map(row, states)])
    if all(each.state == state.DONE for each in states):
        yield ""
        yield from tables.table([COSTS, *(costs(found) for each in states if (found := efficiency.of(each)))])
    reasons = [f"{each.name}: {each.why}" for each in states if each.why]
    if reasons or remarks:
        yield ""
        yield from (*reasons, *remarks)
    talks = next((each for each in states if each.state in (*state.TROUBLE, state.RUNNING)), None)
    log = run.jobs_folder(talks.run) / f"{talks.stage}.log" if talks else None
    if log and log.exists():
        yield f"\nthe last lines of {log}:"
        yield from (f"  {line}" for line in last_lines(log))
    yield f"\n{advice(opened, states)}"


def row(each: StageState) -> tuple[str, ...]:
    """What the table has of a stage."""
    at = each.progress
    return (
        each.name,
        each.state,
        f"{at.epoch} of {at.epochs}" if at else "",
        str(at.step) if at and at.step else "",
        f"{at.dice:.3f}" if at and at.dice is not None else "",
        f"{at.images_per_s:.1f}" if at and at.images_per_s else "",
        tables.span(at.left_s) if at and at.left_s and each.state == state.RUNNING else "",
        str(each.restarts or ""),
        f"{each.job or ''}{f' on {each.nodes}' if each.nodes else ''}",
    )


def costs(found: Efficiency) -> tuple[str, ...]:
    """What a stage took, and how well it used it."""
    return (
        found.name,
        tables.span(found.seconds),
        f"{found.images_per_s:.1f}",
        f"{found.scaling:.0%}" if found.scaling is not None else "",
        f"{found.waiting:.1%}",
        f"{found.saving:.1%}",
        tables.span(found.queued_s) if found.queued_s else "",
        f"{found.gpu_hours:.1f}" if found.gpu_hours else "",
    )


def advice(opened: Run, states: Sequence[StageState]) -> str:
    """What to type next."""
    path = opened.path
    if all(each.state == state.DONE for each in states):
        return f"all done; the results: {opened.metrics if opened.settings.folds else opened.report}"
    if any(each.state in state.TROUBLE for each in states):
        return f"go on from the first stage that is not done: {to_type('cloudseg.resume', path)}"
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
    """The end of a file that may be large."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 200 * count))
        return file.read().decode(errors="replace").splitlines()[-count:]
