"""A run's folder: the one place that knows every path in it, and its settings, written once."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudseg import atomic, config, preflight
from cloudseg.config import Settings
from cloudseg.errors import UsageError
from cloudseg.training import stages

DEFAULT = "runs/default"


@dataclasses.dataclass(frozen=True)
class Run:
    path: Path
    settings: Settings

    @property
    def jobs(self) -> Path:
        """Slurm's side: job ids, submitit's pickles, logs, rendezvous files."""
        return jobs_folder(self.path)

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluate"

    @property
    def metrics(self) -> Path:
        return self.evaluation / "metrics.json"

    def stage(self, stage: str) -> Path:
        return self.path / stages.folder(stage)

    def checkpoints(self, stage: str) -> Path:
        return self.stage(stage) / "checkpoints"

    def history(self, stage: str) -> Path:
        return self.stage(stage) / "history.csv"

    def best_weights(self, stage: str) -> Path:
        return self.stage(stage) / "best.weights.h5"

    def done_file(self, stage: str) -> Path:
        """What says that a stage, or the evaluation, is finished; it is written last."""
        return self.metrics if stage == "evaluate" else self.stage(stage) / "DONE.json"

    def done(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage left on itself, None while it is not finished."""
        try:
            return json.loads(self.done_file(stage).read_text())
        except FileNotFoundError:
            return None

    def settings_digest(self) -> str:
        """sha256 over the settings, in an order that does not depend on how they were written."""
        return hashlib.sha256(json.dumps(config.to_table(self.settings), sort_keys=True).encode()).hexdigest()


def jobs_folder(run: Path) -> Path:
    return run / "jobs"


def open_run(path: Path) -> Run:
    """A run that exists. Raises UsageError, with what to type, if it does not."""
    if not (path / "run.toml").exists():
        raise UsageError(
            f"{path}/run.toml is not there; start the run first: "
            f"python -m cloudseg.launch --stages all --run {path} --data DATA"
        )
    return Run(path.resolve(), config.load(path / "run.toml"))


def prepare(path: Path, given: list[tuple[str, Mapping[str, Any]]]) -> Run:
    """The run at `path`: made with the `given` settings if it is new, compared with them if it is there.

    Safe when many ranks or two launchers do it at once: the first to link its `run.toml` wins, the others
    compare theirs with it. The environment only fills in for a run that is new.
    Raises UsageError with a line a difference if the run has other settings, or for settings that could not
    work: nothing is written then.
    """
    file = path / "run.toml"
    if not file.exists():
        settings = config.resolve([*config.from_environment(), *given])
        preflight.check(settings)
        path.mkdir(parents=True, exist_ok=True)
        text = "# The settings of this run, fixed by its first command.\n" + toml(config.to_table(settings))
        if atomic.create(file, text.encode()):
            return Run(path.resolve(), settings)
    run = open_run(path)
    if given:
        base = [(str(file), config.to_table(run.settings))]
        if any("recipe" in table for _, table in given):
            base = [(where, {k: v for k, v in table.items() if k != "stage"}) for where, table in base]
        wanted = config.resolve([*base, *given])
        differing = config.differences(run.settings, wanted)
        if differing:
            raise UsageError(
                f"{file} holds other settings, and a run keeps those it began with:\n  "
                + "\n  ".join(differing)
                + f"\ngo on with: --run {path} and no settings; or begin another: --run runs/OTHER"
            )
    return run


def parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m cloudseg.COMMAND`, which works on a run."""
    out = argparse.ArgumentParser(
        prog=f"python -m cloudseg.{command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("--run", type=Path, default=Path(DEFAULT), help=f"the run's folder (default {DEFAULT})")
    return out


def toml(table: Mapping[str, Any]) -> str:
    import tomli_w  # not for --help

    return tomli_w.dumps(table)
