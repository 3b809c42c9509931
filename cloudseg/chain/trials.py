"""The folder of a learning-rate study: its trials, each an ordinary run with another rate in the first stage.

The study trains the first stage only, but a trial's settings are those of the whole recipe, so the best one goes on
with `launch --stages all --run STUDY/lr-0.001`.
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
"""How long a launch waits for another one of the same study, which copies the code and calls sbatch twice."""

Layers = list[tuple[str, Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Study:
    path: Path
    stage: str
    """The recipe's first."""
    rates: tuple[float, ...]
    """In the order of the array's tasks; new ones go to the end, so that queued tasks keep theirs."""

    @property
    def jobs(self) -> Path:
        return run.jobs_folder(self.path)

    @property
    def picture(self) -> Path:
        return self.path / "study.png"

    @property
    def begun(self) -> bool:
        """Whether its first trial, whose settings all have, is there."""
        return bool(self.rates) and (self.trial(0) / "run.toml").exists()

    def trial(self, index: int) -> Path:
        return self.path / f"lr-{self.rates[index]}".removesuffix(".0")

    def log(self, index: int | str) -> Path:
        return self.jobs / f"trial-{index}.log"

    def failure(self, index: int) -> Path:
        """Is there while the last attempt at a trial is one that failed."""
        return self.jobs / f"trial-{index}.failed"

    def done(self, index: int) -> bool:
        trial = self.trial(index)
        return (trial / "run.toml").exists() and run.open_run(trial).done(self.stage) is not None


def parse_rates(text: str) -> tuple[float, ...]:
    """'1e-2,1e-3' -> (0.01, 0.001). Raises UsageError for what is no positive number, or there twice."""
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
    """A study that exists. Raises UsageError, with what to type, if it does not."""
    try:
        table = json.loads((path / run.STUDY).read_text())
    except FileNotFoundError:
        start = to_type("cloudseg.launch", "--study", "lr", "--values", "1e-2,1e-3", "--run", path, "--data", "DATA")
        raise UsageError(f"{path / run.STUDY} is not there; start the study first: {start}") from None
    return Study(path.resolve(), table["stage"], tuple(trial["lr"] for trial in table["trials"]))


def plan(path: Path, rates: tuple[float, ...], given: Layers) -> Study:
    """The study at `path` with `rates` added, nothing written; a new one is of the recipe that `given` names."""
    if (path / "run.toml").exists():
        other = shlex.join(["--run", f"{path}-study"])
        raise UsageError(f"{path} is a run; a study wants a folder of its own, for example: {other}")
    if (path / run.STUDY).exists():
        study = open_study(path)
    else:
        settings = config.resolve([*config.from_environment(), *given], default_data="DATA")
        if not settings.stages:
            raise UsageError("stages: there must be at least one")
        study = Study(path.resolve(), settings.stages[0], ())
    return dataclasses.replace(study, rates=tuple(dict.fromkeys((*study.rates, *rates))))


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """While entered, no other launch changes study.json and arrays.json of the study at `path`, or queues its trials.

    Waits up to PATIENCE_S for another launch; raises UsageError, which names it, if that is not over then.
    """
    file = run.jobs_folder(path.resolve()) / "launch.lock"
    refusal = "wait until it has queued its trials; if it is gone, delete that file"
    deadline = time.monotonic() + PATIENCE_S
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock.held(file, "", lambda owner: False, refusal))
                break
            except UsageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield


def prepare(study: Study, given: Layers, epochs: int | None) -> None:
    """Make the trials that are not there yet, and study.json; within `changing`.

    The first trial takes the `given` settings, or is compared with them; the others are like it but for the rate.
    Raises UsageError as `begin.run` does.
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
    """Train a trial to its end, as `batch.run_stage` does, and keep in mind whether it failed."""
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
    """While entered, what this process and those it starts print goes to the end of `log`."""
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as file:
        kept = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in kept:
                os.dup2(file.fileno(), number)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)


def compare(study: Study) -> None:
    """Draw study.png of what is there, and print it as a table.

    Raises CloudsegError if trials have failed and none is done.
    """
    from cloudseg.training import comparison, history  # matplotlib, not for --help

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
        comparison.draw(outcomes, study.stage, study.picture)
        print(f"drawn in {study.picture}", flush=True)
    failed = any(study.failure(index).exists() for index in range(len(study.rates)))
    if failed and all(outcome.note for outcome in outcomes):
        raise CloudsegError("no trial is done; the end of each log says why")
