"""The folder of a run: all paths in it, and its settings, which are written once."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudseg.core import config
from cloudseg.core.config import Settings
from cloudseg.core.errors import UsageError, to_type
from cloudseg.core.provenance import MANIFEST

DEFAULT = "runs/default"
PREPROCESS = "preprocess"
"""Name of the optional job before the first stage, which makes the shards."""
EVALUATE = "evaluate"
"""Name of the job after the last stage; its metrics.json marks it as done."""
STUDY = "study.json"
"""The file that marks the folder of a learning-rate study; the folder contains runs but is not a run."""
OTHER = "runs/OTHER"
"""Placeholder in messages for the folder of a new run."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run: its folder and settings."""

    path: Path
    settings: Settings
    made: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Versions and digests at its start, see `provenance.made`."""

    @property
    def chain(self) -> tuple[str, ...]:
        """All stages in their order, then the evaluation."""
        return chain(self.settings)

    def members(self) -> tuple[Run, ...]:
        """The runs that train: for a cross-validation one run per fold, else only this run.

        Raises UsageError, with what to type, if the run of a fold does not exist.
        """
        return tuple(open_run(self.member(fold)) for fold in self.settings.folds) or (self,)

    def member(self, fold: int) -> Path:
        """The folder of the run of a fold."""
        return self.path / f"fold-{fold}"

    @property
    def jobs(self) -> Path:
        """Folder for job ids, submitit's pickles, logs, locks, and the attempts with rendezvous and heartbeats."""
        return jobs_folder(self.path)

    def attempts(self, stage: str) -> Path:
        """JSON Lines file with one line per ended attempt at the stage."""
        return self.jobs / f"{stage}.attempts.jsonl"

    def queued(self) -> dict[str, str]:
        """Stage -> id of the job that the launcher queued last for it."""
        try:
            ids: dict[str, str] = json.loads((self.jobs / "queued.json").read_text())
        except FileNotFoundError:
            return {}
        return ids

    def has_data(self) -> bool:
        """Whether its data set is complete, that is, has a manifest, which is written last."""
        return (Path(self.settings.data) / MANIFEST).exists()

    def past_attempts(self, stage: str) -> list[dict[str, Any]]:
        """The ended attempts at the stage, oldest first, as `cloudseg.job.restarts.record` wrote them."""
        try:
            lines = self.attempts(stage).read_text().splitlines()
        except FileNotFoundError:
            return []
        return [table for line in lines if (table := _object(line))]

    def lock(self, stage: str) -> Path:
        """Lock file of the stage lease."""
        return self.jobs / f"{stage}.lock"

    @property
    def evaluation(self) -> Path:
        """Folder of the evaluation."""
        return self.path / "evaluate"

    @property
    def metrics(self) -> Path:
        return self.evaluation / "metrics.json"

    @property
    def probabilities(self) -> Path:
        """Folder of probability maps, see `cloudseg.results.probabilities`."""
        return self.path / "probabilities"

    def other_data(self, name: str, digest: str) -> Path:
        """Folder of the evaluation on another data set, of this name and sha256 (hex)."""
        return self.path / "other-data" / f"{name}-{digest[:8]}"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def stage(self, stage: str) -> Path:
        """Folder of a stage: 'partial' -> '2-partial', so that folders sort in the order of the stages."""
        return self.path / f"{self.settings.stages.index(stage) + 1}-{stage}"

    def previous_stage(self, stage: str) -> str | None:
        """The stage whose weights this one starts from; None for the first stage."""
        index = self.settings.stages.index(stage)
        return self.settings.stages[index - 1] if index else None

    def unfinished_before(self, stage: str) -> list[str]:
        """The stages before this one that are not done, the latest first, up to the latest one that is done."""
        unfinished: list[str] = []
        before = self.previous_stage(stage)
        while before and not self.done(before):
            unfinished.append(before)
            before = self.previous_stage(before)
        return unfinished

    def relaunch(self, *changes: str) -> str:
        """The command line for a new run with these settings and `changes`, for example "precision=float32"."""
        options = [option for change in changes for option in ("--set", change)]
        file = self.path / "run.toml"
        return to_type("cloudseg.launch", "--stages", "all", "--config", file, "--run", OTHER, *options)

    def find(self, stage: str) -> str:
        """The name of the stage with this name or number (from 1). Raises UsageError if there is none."""
        numbered = dict(enumerate(self.settings.stages, 1))
        name = numbered.get(int(stage), stage) if stage.isdecimal() else stage
        if name not in self.chain:
            raise UsageError(f"{self.path}: there is no stage {stage!r}{config.nearest(stage, self.chain)}")
        return name

    def events(self, stage: str) -> Path:
        """Folder of TensorBoard event files."""
        return self.stage(stage) / "events"

    def checkpoints(self, stage: str) -> Path:
        return self.stage(stage) / "checkpoints"

    def pseudo_labels(self, stage: str) -> Path:
        """Folder of the shards of the pictures that the stage has labelled."""
        return self.stage(stage) / "shards"

    def saved_step(self, stage: str) -> int:
        """The step of the stage's latest checkpoint, from its file name; 0 without checkpoints."""
        records = self.checkpoints(stage).glob("step-*.json")
        return max((int(path.stem.removeprefix("step-")) for path in records), default=0)

    def saved_ranks(self, stage: str) -> int | None:
        """The number of ranks that wrote the stage's latest readable checkpoint; None without one."""
        for record in sorted(self.checkpoints(stage).glob("step-*.json"), reverse=True):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return int(json.loads(record.read_text())["ranks"])
        return None

    def history(self, stage: str) -> Path:
        return self.stage(stage) / "history.csv"

    def best_weights(self, stage: str) -> Path:
        """File of the best weights of a finished stage."""
        return self.stage(stage) / "best.weights.h5"

    def done_file(self, stage: str) -> Path:
        """The file that marks a stage, or the evaluation, as finished; it is written last."""
        return self.metrics if stage == EVALUATE else self.stage(stage) / "DONE.json"

    def done(self, stage: str) -> dict[str, Any] | None:
        """The content of `done_file(stage)`; None while the stage is not finished.

        None for an evaluation of other weights than those of the last finished stage.
        """
        table = self._done_table(stage)
        if stage == EVALUATE and table and table.get("weights_sha256") != self.evaluated_weights():
            return None
        return table

    def evaluated_weights(self) -> str | list[Any] | None:
        """sha256 (hex) of the weights that an evaluation would score now: those of the last finished stage.

        For a cross-validation a list with one digest per fold; None if no stage is finished.
        """
        if self.settings.folds:
            return [member.evaluated_weights() for member in self.members()]
        digests = [table.get("weights_sha256") for stage in self.settings.stages if (table := self._done_table(stage))]
        return digests[-1] if digests else None

    def _done_table(self, stage: str) -> dict[str, Any] | None:
        """The content of `done_file(stage)`; None if the file does not exist."""
        file = self.done_file(stage)
        for last in (False, True):
            try:
                return json.loads(file.read_text())
            except FileNotFoundError:
                # An NFS client caches for up to a minute that a file does not exist; listing its folder refreshes it.
                if last or not (file.parent.is_dir() and file in file.parent.iterdir()):
                    return None
        return None

    def settings_digest(self) -> str:
        """See `config.digest`."""
        return config.digest(self.settings)


def _object(line: str) -> dict[str, Any] | None:
    """The object in a line of JSON; None for an incomplete line, which is being written or was cut by a full disk."""
    try:
        table: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return table


def chain(settings: Settings) -> tuple[str, ...]:
    """All stages in their order, then the evaluation."""
    return (*settings.stages, EVALUATE)


def jobs_folder(run: Path) -> Path:
    """The jobs folder of the run in the folder `run`."""
    return run / "jobs"


def open_run(path: Path) -> Run:
    """The run in the folder `path`. Raises UsageError, with what to type, if there is none."""
    if not (path / "run.toml").exists():
        refuse_study(path)
        cross_validation = _cross_validation_of(path)
        options = ["--run", cross_validation] if cross_validation else ["--run", path, "--data", "DATA"]
        start = to_type("cloudseg.launch", "--stages", "all", *options)
        raise UsageError(f"{path}/run.toml is not there; start the run first: {start}")
    if path.stat().st_mode & stat.S_IWOTH:
        command = shlex.join(["chmod", "o-w", str(path)])
        raise UsageError(f"everybody may write to {path}, and jobs execute files in it; type: {command}")
    table = config.read_toml(path / "run.toml")
    made = table.pop("made", {})
    return Run(path.resolve(), config.build(Settings, table, str(path / "run.toml")), made)


def refuse_study(path: Path) -> None:
    """Raises UsageError, with what to type, if `path` is the folder of a study."""
    if (path / STUDY).exists():
        raise UsageError(
            f"{path} is a learning-rate study, not a run; its trials are runs, and its table: "
            + to_type("cloudseg.study", "--run", path)
        )


def _cross_validation_of(path: Path) -> Path | None:
    """The cross-validation that has `path` as the folder of one of its folds; None if there is none."""
    parent = path.parent
    if not (parent / "run.toml").exists():
        return None
    folds = config.read_toml(parent / "run.toml").get("folds", ())
    return parent if path.name in {f"fold-{fold}" for fold in folds} else None


def parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m cloudseg.COMMAND`, with the option --run."""
    out = argparse.ArgumentParser(
        prog=f"python -m cloudseg.{command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("--run", type=Path, default=Path(DEFAULT), help=f"folder of the run (default {DEFAULT})")
    return out
