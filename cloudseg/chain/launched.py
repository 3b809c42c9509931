"""How a run was launched last, kept for `resume`."""

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
    "csv", "images", "size", "shards",
)  # fmt: skip
"""What `resume` asks for again."""


def kept(args: argparse.Namespace) -> dict[str, Any]:
    """What `resume` asks for again, as JSON has it."""
    values = {key: getattr(args, key) for key in KEPT}
    return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in values.items()}


def keep(prepared: Run, args: argparse.Namespace) -> None:
    """Write for `resume` how it was launched."""
    prepared.jobs.mkdir(parents=True, exist_ok=True)
    atomic.write_json(prepared.jobs / LAUNCHED, kept(args))


def options(jobs: Path) -> list[str]:
    """The options of the last launch of the run whose jobs folder is `jobs`, as they would be typed; none if it left
    none."""
    try:
        table = json.loads((jobs / LAUNCHED).read_text())
    except FileNotFoundError:
        return []
    found = []
    for key, value in table.items():
        if value not in (None, False):
            found += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
    return found
