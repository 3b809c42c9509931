"""A run's folder: the one place that knows every path in it, and its settings, written once."""

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
"""What may come before the first stage: the shards."""
EVALUATE = "evaluate"
"""What comes after the last stage, and has a DONE file of its own."""
STUDY = "study.json"
"""The file that tells the folder of a learning-rate study, which holds runs and is none."""
OTHER = "runs/OTHER"
"""What messages call a run that is yet to begin."""


@dataclasses.dataclass(frozen=True)
class Run:
    path: Path
    settings: Settings
    made: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What it was begun with, see `provenance.made`."""

    @property
    def chain(self) -> tuple[str, ...]:
        """All stages in their order, and the evaluation."""
        return chain(self.settings)

    def members(self) -> tuple[Run, ...]:
        """The runs whose stages make up this one: of a cross-validation one a fold, else itself. Raises UsageError,
        with what to type, if a fold's is not there."""
        return tuple(open_run(self.member(fold)) for fold in self.settings.folds) or (self,)

    def member(self, fold: int) -> Path:
        """The folder of a fold's own run."""
        return self.path / f"fold-{fold}"

    @property
    def jobs(self) -> Path:
        """Slurm's side: job ids, submitit's pickles, logs, locks, what ranks tell each other."""
        return jobs_folder(self.path)

    def attempts(self, stage: str) -> Path:
        """A line for each beginning and end of a job's try at the stage."""
        return self.jobs / f"{stage}.attempts.jsonl"

    def queued(self) -> dict[str, str]:
        """The job that the launcher queued last for each stage."""
        try:
            found: dict[str, str] = json.loads((self.jobs / "queued.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def has_data(self) -> bool:
        """Whether its data set is whole: the manifest is written last."""
        return (Path(self.settings.data) / MANIFEST).exists()

    def past_attempts(self, stage: str) -> list[dict[str, Any]]:
        """How the stage's tries ended so far, oldest first, as `cloudseg.job.restarts.record` wrote it."""
        try:
            lines = self.attempts(stage).read_text().splitlines()
        except FileNotFoundError:
            return []
        return [table for line in lines if (table := _object(line))]

    def lock(self, stage: str) -> Path:
        return self.jobs / f"{stage}.lock"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluate"

    @property
    def metrics(self) -> Path:
        return self.evaluation / "metrics.json"

    @property
    def probabilities(self) -> Path:
        """What networks said of images, see `cloudseg.results.probabilities`."""
        return self.path / "probabilities"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def stage(self, stage: str) -> Path:
        """'partial' -> '2-partial': folders sort in the order of the stages."""
        return self.path / f"{self.settings.stages.index(stage) + 1}-{stage}"

    def before(self, stage: str) -> str | None:
        """The stage whose weights this one starts from, None for the first."""
        index = self.settings.stages.index(stage)
        return self.settings.stages[index - 1] if index else None

    def unfinished_before(self, stage: str) -> list[str]:
        """The stages that must be done before this one and are not, the nearest first."""
        found: list[str] = []
        before = self.before(stage)
        while before and not self.done(before):
            found.append(before)
            before = self.before(before)
        return found

    def relaunch(self, *changes: str) -> str:
        """What to type for another run with these settings but for `changes`, as "precision=float32"."""
        options = [option for change in changes for option in ("--set", change)]
        file = self.path / "run.toml"
        return to_type("cloudseg.launch", "--stages", "all", "--config", file, "--run", OTHER, *options)

    def find(self, stage: str) -> str:
        """A stage of the chain from its name or its number, from 1. Raises UsageError if there is none."""
        numbered = dict(enumerate(self.settings.stages, 1))
        name = numbered.get(int(stage), stage) if stage.isdecimal() else stage
        if name not in self.chain:
            raise UsageError(f"{self.path}: there is no stage {stage!r}{config.nearest(stage, self.chain)}")
        return name

    def events(self, stage: str) -> Path:
        """TensorBoard's."""
        return self.stage(stage) / "events"

    def checkpoints(self, stage: str) -> Path:
        return self.stage(stage) / "checkpoints"

    def saved_step(self, stage: str) -> int:
        """The step of the stage's newest checkpoint, from its name; 0 if there is none."""
        records = self.checkpoints(stage).glob("step-*.json")
        return max((int(path.stem.removeprefix("step-")) for path in records), default=0)

    def saved_ranks(self, stage: str) -> int | None:
        """How many ranks wrote the stage's newest checkpoint; None if there is none that can be read."""
        for record in sorted(self.checkpoints(stage).glob("step-*.json"), reverse=True):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return int(json.loads(record.read_text())["ranks"])
        return None

    def history(self, stage: str) -> Path:
        return self.stage(stage) / "history.csv"

    def best_weights(self, stage: str) -> Path:
        """Where a stage leaves its best weights when it is done; DONE.json names the file."""
        return self.stage(stage) / "best.weights.h5"

    def done_file(self, stage: str) -> Path:
        """What says that a stage, or the evaluation, is finished; it is written last."""
        return self.metrics if stage == EVALUATE else self.stage(stage) / "DONE.json"

    def done(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage left on itself, None while it is not finished. An evaluation is not if the stages have
        come further since."""
        table = self._left(stage)
        if stage == EVALUATE and table and table.get("weights_sha256") != self.evaluated_weights():
            return None
        return table

    def evaluated_weights(self) -> str | list[Any] | None:
        """sha256 of the weights that an evaluation would judge now, those of the last stage that is finished; of a
        cross-validation one a fold."""
        if self.settings.folds:
            return [member.evaluated_weights() for member in self.members()]
        digests = [table.get("weights_sha256") for stage in self.settings.stages if (table := self._left(stage))]
        return digests[-1] if digests else None

    def _left(self, stage: str) -> dict[str, Any] | None:
        file = self.done_file(stage)
        for last in (False, True):
            try:
                return json.loads(file.read_text())
            except FileNotFoundError:
                # A node may remember for a minute that a file on a file server was not there; listing makes it look.
                if last or not (file.parent.is_dir() and file in file.parent.iterdir()):
                    return None
        return None

    def settings_digest(self) -> str:
        """See `config.digest`."""
        return config.digest(self.settings)


def _object(line: str) -> dict[str, Any] | None:
    """What a line of JSON holds, None for one that is being written, or that a full disk cut off."""
    try:
        table: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return table


def chain(settings: Settings) -> tuple[str, ...]:
    return (*settings.stages, EVALUATE)


def jobs_folder(run: Path) -> Path:
    return run / "jobs"


def open_run(path: Path) -> Run:
    """A run that exists. Raises UsageError, with what to type, if it does not."""
    if not (path / "run.toml").exists():
        refuse_study(path)
        whole = _whole_of(path)
        options = ["--run", whole] if whole else ["--run", path, "--data", "DATA"]
        start = to_type("cloudseg.launch", "--stages", "all", *options)
        raise UsageError(f"{path}/run.toml is not there; start the run first: {start}")
    if path.stat().st_mode & stat.S_IWOTH:
        command = shlex.join(["chmod", "o-w", str(path)])
        raise UsageError(f"everybody may write to {path}, and jobs run what lies there; type: {command}")
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


def _whole_of(path: Path) -> Path | None:
    """The cross-validation of which the run at `path`, there or not, is a fold's; None if there is none."""
    whole = path.parent
    if not (whole / "run.toml").exists():
        return None
    folds = config.read_toml(whole / "run.toml").get("folds", ())
    return whole if path.name in {f"fold-{fold}" for fold in folds} else None


def parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m cloudseg.COMMAND`, which works on a run."""
    out = argparse.ArgumentParser(
        prog=f"python -m cloudseg.{command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("--run", type=Path, default=Path(DEFAULT), help=f"the run's folder (default {DEFAULT})")
    return out
