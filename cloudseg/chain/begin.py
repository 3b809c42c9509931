"""Begins a run: writes its settings once, after they were checked, or compares them with those that it has."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudseg.chain import preflight
from cloudseg.core import atomic, config, provenance
from cloudseg.core.errors import UsageError
from cloudseg.core.run import OTHER, Run, open_run, refuse_study


def run(path: Path, given: list[tuple[str, Mapping[str, Any]]], data_to_come: bool = False, advice: str = "") -> Run:
    """The run at `path`: made with the `given` settings if it is new, compared with them if it is there. Its data set
    must be there unless it is `data_to_come`. `advice` says what to do about other settings, where it is not to go on
    without them.

    Safe when many ranks or two launchers do it at once: the first to link its `run.toml` wins, the others
    compare theirs with it. The environment only fills in for a run that is new.
    Raises UsageError with a line a difference if the run has other settings, or for settings that could not
    work: nothing is written then.
    """
    file = path / "run.toml"
    if not file.exists():
        refuse_study(path)
        settings = config.resolve([*config.from_environment(), *given])
        preflight.check_run(settings, data_to_come)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(path.stat().st_mode & ~stat.S_IWOTH)
        made = provenance.made(settings.data)
        text = "# The settings of this run, fixed by its first command. [made] says with what that was.\n"
        if atomic.create(file, (text + config.toml({**config.to_table(settings), "made": made})).encode()):
            return Run(path.resolve(), settings, made)
    run = open_run(path)
    if given:
        base = [(str(file), config.to_table(run.settings))]
        if any("recipe" in table for _, table in given):
            base = [(where, {k: v for k, v in table.items() if k not in ("stage", "stages")}) for where, table in base]
        wanted = config.resolve([*base, *given])
        differing = config.differences(run.settings, wanted)
        if differing:
            raise UsageError(
                f"{file} holds other settings, and a run keeps those it began with:\n  "
                + "\n  ".join(differing)
                + f"\n{advice or keep_settings(path)}"
            )
    return run


def keep_settings(path: Path) -> str:
    """What to do where the command line names other settings than the run, or study, at `path` has."""
    return f"go on with: {shlex.join(['--run', str(path)])} and no settings; or begin another: --run {OTHER}"
