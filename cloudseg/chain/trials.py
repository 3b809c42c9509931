"""The folder of a learning-rate study. Each trial is a run with another learning rate in the first stage.

A study trains the first stage only, but a trial has the settings of the whole recipe, so that the best trial can be
continued with `launch --stages all --run STUDY/lr-0.001`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudseg.chain import begin
from cloudseg.core import atomic, config, lock, run
from cloudseg.core.errors import CloudsegError, Stopped, UsageError, to_type
from cloudseg.job import batch

DEFAULT = "runs/study-lr"
PATIENCE_S = 120.0
"""Seconds that a launch waits for another launch of the same study, which copies the code and calls sbatch twice."""

Layers = list[tuple[str, Mapping[str, Any]]]
"""Layers of settings, see `config.resolve`."""


@dataclasses.dataclass(frozen=True)
class Study:
    """A learning-rate study: its folder, stage and learning rates."""

    path: Path
    stage: str
    """The first stage of the recipe."""
    rates: tuple[float, ...]
    """Learning rates by index of the trial. New ones are appended, so that queued tasks keep their index."""

    @property
    def jobs(self) -> Path:
        return run.jobs_folder(self.path)

    @property
    def figure(self) -> Path:
        return self.path / "study.png"

    @property
    def exists(self) -> bool:
        """Whether the run of its first trial exists; all trials have the settings of this run."""
        return bool(self.rates) and (self.trial(0) / "run.toml").exists()

    def trial(self, index: int) -> Path:
        """Folder of the run of a trial."""
        return self.path / f"lr-{self.rates[index]}".removesuffix(".0")

    def log(self, index: int | str) -> Path:
        return self.jobs / f"trial-{index}.log"

    def failure(self, index: int) -> Path:
        """File that exists if the last attempt at the trial failed; it has the error message."""
        return self.jobs / f"trial-{index}.failed"

    def done(self, index: int) -> bool:
        """Whether the stage of the trial is done."""
        trial = self.trial(index)
        return (trial / "run.toml").exists() and run.open_run(trial).done(self.stage) is not None


def parse_rates(text: str) -> tuple[float, ...]:
    """'1e-2,1e-3' -> (0.01, 0.001). Raises UsageError for text that is no positive number, and for equal rates."""
    rates: list[float] = []
    for part in text.split(","):
        try:
            rate = float(part)
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            raise UsageError(f"--values {text}: {part!r} is no number above 0; type, for example: --values 1e-2,1e-3")
        if rate in rates:
            raise UsageError(f"--values {text}: {rate:g} is there twice")
        rates.append(rate)
    return tuple(rates)


def open_study(path: Path) -> Study:
    """The study in the folder `path`. Raises UsageError, with what to type, if there is none."""
    try:
        table = json.loads((path / run.STUDY).read_text())
    except FileNotFoundError:
        start = to_type("cloudseg.launch", "--study", "lr", "--values", "1e-2,1e-3", "--run", path, "--data", "DATA")
        raise UsageError(f"{path / run.STUDY} is not there; start the study first: {start}") from None
    return Study(path.resolve(), table["stage"], tuple(trial["lr"] for trial in table["trials"]))


def plan(path: Path, rates: tuple[float, ...], given: Layers) -> Study:
    """The study in the folder `path` with `rates` added, and the stage from the settings `given` if it is new.

    Writes nothing. Raises UsageError if `path` is the folder of a run.
    """
    if (path / "run.toml").exists():
        other = shlex.join(["--run", f"{path}-study"])
        raise UsageError(f"{path} is a run; a study needs another folder, for example: {other}")
    if (path / run.STUDY).exists():
        study = open_study(path)
    else:
        settings = config.resolve([*config.from_environment(), *given], default_data="DATA")
        if not settings.stages:
            raise UsageError("stages: there must be at least one")
        study = Study(path.resolve(), settings.stages[0], ())
    return dataclasses.replace(study, rates=tuple(dict.fromkeys((*study.rates, *rates))))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Context manager: holds the launch lock of the study, so that no other launch changes it or queues its trials.

    Waits up to PATIENCE_S for another launch. Raises UsageError, which names its process, if it still holds the lock.
    """
    file = run.jobs_folder(path.resolve()) / "launch.lock"
    refusal = "wait until it has queued its trials; if it is gone, delete that file"
    deadline = time.monotonic() + PATIENCE_S
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock.hold(file, "", lambda owner: False, refusal))
                break
            except UsageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield


def prepare(study: Study, given: Layers, epochs: int | None) -> None:
    """Create the runs of new trials, and write study.json; call it within `locked`.

    The first trial has the `given` settings, or is compared with them; the others differ from it in the learning rate
    only. Raises UsageError as `begin.run` does.
    """
    layers = list(given)
    if epochs:
        layers.append(("--epochs", {"stage": {study.stage: {"epochs": epochs}}}))
    for index, rate in enumerate(study.rates):
        layers.append(("--values", {"stage": {study.stage: {"lr": rate}}}))
        trial = begin.run(study.trial(index), layers, advice=begin.keep_settings(study.path))
        layers = [(str(trial.path / "run.toml"), config.to_table(trial.settings))]
    trials = [{"lr": rate, "run": study.trial(index).name} for index, rate in enumerate(study.rates)]
    atomic.write_json(study.path / run.STUDY, {"study": "lr", "stage": study.stage, "trials": trials})


def train(study: Study, index: int, ranks: int | None = None) -> None:
    """Train a trial, as `batch.run_stage` does, and write the file `failure` if it fails."""
    study.jobs.mkdir(exist_ok=True)
    study.failure(index).unlink(missing_ok=True)
    try:
        batch.run_stage(study.trial(index), study.stage, ranks)
    except Stopped:
        raise
    except CloudsegError as error:
        atomic.write(study.failure(index), f"{error}\n".encode())
        raise


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Context manager: appends the output of this process and its child processes to `log`."""
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as file:
        saved = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in saved:
                os.dup2(file.fileno(), number)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)


def compare(study: Study) -> None:
    """Print a table of all trials and draw study.png.

    Raises CloudsegError if no trial is done and at least one has failed.
    """
    from cloudseg.training import comparison, history  # imports matplotlib, which --help does not need

    outcomes = []
    for index, rate in enumerate(study.rates):
        trial = run.open_run(study.trial(index))
        rows = history.read(trial.history(study.stage))
        note = ""
        if not study.done(index):
            epochs = trial.settings.stage[study.stage].epochs
            state = "failed" if study.failure(index).exists() else "not done"
            note = f"{state}, {len(rows)} of {epochs} epochs: {study.log(index)}"
        outcomes.append(comparison.Outcome(rate, rows, note))
    print("\n".join(comparison.table(outcomes)), flush=True)
    if any(outcome.history for outcome in outcomes):
        comparison.draw(outcomes, study.stage, study.figure)
        print(f"figure: {study.figure}", flush=True)
    failed = any(study.failure(index).exists() for index in range(len(study.rates)))
    if failed and all(outcome.note for outcome in outcomes):
        raise CloudsegError("no trial is done; the reason is at the end of each log")
