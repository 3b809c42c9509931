"""The options of the last launch of a run, saved for `resume`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cloudseg.core import atomic
from cloudseg.core.run import Run

LAUNCHED = "launched.json"
KEPT = (
    "cluster", "site", "nodes", "tasks_per_node", "partition", "time", "elastic", "mail", "hook", "no_snapshot",
    "reservation", "exclude", "throttle",
    "csv", "images", "size", "shards",
)  # fmt: skip
"""Names of the options that `resume` uses again; not --begin, a time that has passed."""


def as_json(args: argparse.Namespace) -> dict[str, Any]:
    """The values of the options KEPT, in the form in which they are saved as JSON."""
    values = {key: getattr(args, key) for key in KEPT}
    return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in values.items()}


def save(prepared: Run, args: argparse.Namespace) -> None:
    """Save the options of this launch for `resume`."""
    prepared.jobs.mkdir(parents=True, exist_ok=True)
    atomic.write_json(prepared.jobs / LAUNCHED, as_json(args))


def load(jobs: Path) -> list[str]:
    """The saved options of the run whose jobs folder is `jobs`, as words of a command line; [] if none are saved."""
    try:
        table = json.loads((jobs / LAUNCHED).read_text())
    except FileNotFoundError:
        return []
    words = []
    for key, value in table.items():
        if value not in (None, False):
            words += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words
