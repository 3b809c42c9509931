"""Does the trainings of a matrix, one after the other, and keeps the result of each as a small JSON file."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.science.matrix import Training
from cloudseg.core import config
from cloudseg.core.atomic import write_json
from cloudseg.core.errors import CloudsegError
from cloudseg.core.run import Run, open_run
from cloudseg.data.labels import CLASSES


@dataclasses.dataclass(frozen=True)
class Result:
    """Scores of a training on the validation fold."""

    settings: str
    """Digest of the settings and of the data set: a result with another digest is made anew."""
    images: str
    """Digest of the names of the validation images, in their order."""
    dice: dict[str, list[float]]
    """Stage -> tuned Dice of each image, the mean of its classes."""
    tuned: dict[str, float]
    """Stage -> tuned Dice."""
    untuned: dict[str, float]
    """Stage -> Dice at threshold 0.5."""
    per_class: dict[str, dict[str, float]]
    """Stage -> class -> tuned Dice."""
    images_seen: int
    """Training images in all epochs."""
    seconds: float
    """Duration of training, without evaluation."""


def result(training: Training, data: Path, data_digest: str, ranks: int, out: Path, results: Path) -> Result:
    """The result of a training. Trains and evaluates it unless its result is in `results`, or goes on with it.

    Raises CloudsegError if it fails.
    """
    wanted, file = _digest(training, data_digest, ranks), results / f"{training.id}.json"
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["settings"] == wanted:
            return Result(**kept)
    run = out / f"{training.id}-{wanted[:8]}"
    settings = out / f"{run.name}.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(config.toml(training.settings))
    command = [sys.executable, "-m", "cloudseg.launch", "--stages", "all", "--cluster", "local"]
    command += ["--tasks-per-node", str(ranks), "--run", str(run), "--data", str(data), "--config", str(settings)]
    code = subprocess.run(command, check=False, stdout=sys.stderr).returncode
    if code:
        raise CloudsegError(f"{training.id} failed with exit code {code}; the same command continues")
    found = _read(open_run(run), wanted)
    results.mkdir(parents=True, exist_ok=True)
    write_json(file, dataclasses.asdict(found))
    return found


def _digest(training: Training, data_digest: str, ranks: int) -> str:
    settings = {**training.settings, "weights": Path(str(training.settings["weights"])).name}
    content = json.dumps([settings, data_digest, ranks], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _read(run: Run, digest: str) -> Result:
    metrics = json.loads(run.metrics.read_text())
    with (run.evaluation / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stages: Mapping[str, dict[str, Any]] = metrics["per_stage"]
    dice = {
        stage: [
            round(sum(float(row[f"dice_{name.lower()}"]) for name in CLASSES) / len(CLASSES), 4)
            for row in rows
            if row["stage"] == stage
        ]
        for stage in stages
    }
    done = [run.done(stage) or {} for stage in run.settings.stages]
    batch = run.settings.batch
    return Result(
        digest,
        hashlib.sha256(
            "\n".join(row["image"] for row in rows if row["stage"] == metrics["stage"]).encode()
        ).hexdigest(),
        dice,
        {stage: each["dice"] for stage, each in stages.items()},
        {stage: each["dice_untuned"] for stage, each in stages.items()},
        {stage: each["dice_per_class"] for stage, each in stages.items()},
        sum(
            each["steps"] * each["ranks"] * batch * run.settings.stage[stage].accumulate
            for stage, each in zip(run.settings.stages, done, strict=True)
        ),
        sum(each["seconds"] for each in done),
    )
