"""Creates a run: checks its settings and writes them once, or compares the given settings with those of the run."""

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
    """The run in the folder `path`, created with the `given` settings if it does not exist.

    `given`: layers for `config.resolve`; the environment adds settings to a new run only. If the run exists, its
    settings must be equal to the given ones. With `data_to_come` the data set need not exist. `advice` replaces the
    default advice in the error about different settings.

    Several ranks or launchers may call this at once: the first to link `run.toml` creates the run, the others compare
    their settings with it. Raises UsageError, with one line per difference, if the run has other settings, and for
    invalid settings; nothing is written then.
    """
    file = path / "run.toml"
    if not file.exists():
        refuse_study(path)
        settings = config.resolve([*config.from_environment(), *given])
        preflight.check_run(settings, data_to_come)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(path.stat().st_mode & ~stat.S_IWOTH)
        made = provenance.made(settings.data)
        text = "# The settings of this run, fixed by its first command. [made] lists the versions at that time.\n"
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
                f"{file} has other settings, and the settings of a run cannot change:\n  "
                + "\n  ".join(differing)
                + f"\n{advice or keep_settings(path)}"
            )
    return run


def keep_settings(path: Path) -> str:
    """Advice for a command line with other settings than those of the run, or study, at `path`."""
    return f"to resume it: {shlex.join(['--run', str(path)])} without settings; to start another: --run {OTHER}"
