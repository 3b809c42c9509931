"""Loads an evaluated run for the app, from files only, without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cloudseg.core import run
from cloudseg.core.errors import DataError, UsageError, to_type
from cloudseg.core.run import Run
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import Manifest, Shards
from cloudseg.results import postprocess
from cloudseg.results.postprocess import Rule
from cloudseg.results.probabilities import Store, store_of
from cloudseg.results.sources import Samples


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A run with its evaluation."""

    run: Run
    metrics: Mapping[str, Any]
    """Content of metrics.json."""
    rules: list[Rule]
    """Rules of thresholds.json, one per class."""
    samples: Samples
    """Validation images."""
    stores: Mapping[str, Store]
    """Probabilities of the validation images, by stage."""
    table: pd.DataFrame
    """Content of images.csv: one row per image and stage."""

    @property
    def name(self) -> str:
        return self.run.path.name

    @property
    def stage(self) -> str:
        """The last stage that was scored."""
        return self.metrics["stage"]

    @property
    def key(self) -> str:
        """Cache key that identifies weights, images and prediction settings."""
        return str(self.stores[self.stage].folder)

    def probability(self, image: str, stage: str) -> np.ndarray:
        """Probabilities of an image, uint8 (C, 350, 525), 255 for 1. Raises DataError if the file is damaged."""
        return self.stores[stage].read(self.samples.names.index(image))

    def presence(self, image: str, stage: str) -> np.ndarray | None:
        """Probabilities of the presence head, float32 (C,); None without it. Raises DataError as `probability`."""
        return self.stores[stage].presence(self.samples.names.index(image))

    def truth(self, image: str) -> np.ndarray:
        """Packed ground truth, uint8 (350, 525). Raises DataError if the shard is damaged."""
        return self.samples.truth(self.samples.names.index(image))

    def picture(self, image: str) -> np.ndarray:
        """The image at the training size, RGB uint8 (H, W, 3). Raises DataError if the shard is damaged."""
        return self.samples.shards.image(self.samples.numbers[self.samples.names.index(image)])


def load(path: Path) -> Evaluated:
    """Load the evaluation of a run.

    Raises UsageError, with what to type, if the run does not exist, or its evaluation is missing or of other weights or
    data; DataError if the evaluation's files are damaged.
    """
    found = run.open_run(path)
    if found.settings.folds:
        fold = shlex.join(["--run", str(found.member(found.settings.folds[0]))])
        raise UsageError(f"{path} is a cross-validation; the app shows one of its folds: {fold}")
    evaluate = to_type("cloudseg.evaluate", "--run", path)
    if not any(found.done(stage) for stage in found.settings.stages):
        launch = to_type("cloudseg.launch", "--stages", "all", "--run", path)
        raise UsageError(f"{path}: no stage is done yet; type: {launch}")
    if not found.metrics.exists():
        raise UsageError(f"{path} is not scored yet; type: {evaluate}")
    manifest = Manifest.load(found.settings.data)
    samples = Samples(Shards(manifest), manifest.indices(found.settings.fold, training=False))
    try:
        metrics = json.loads(found.metrics.read_text())
        table = pd.read_csv(found.evaluation / "images.csv", dtype={"image": str})
        stages, flips = list(metrics["per_stage"]), metrics["flips"]
        if lacking := {"image", "stage", *(f"dice_{name.lower()}" for name in CLASSES)} - set(table.columns):
            raise KeyError(*sorted(lacking))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{found.evaluation} is damaged ({type(error).__name__}: {error}); make it again: {evaluate}"
        ) from error
    if not all(found.done(stage) for stage in stages):
        raise UsageError(f"{path} was scored with other stages than are done now; type: {evaluate}")
    stores = {stage: store_of(found, stage, samples, flips, found.probabilities) for stage in stages}
    if any(store.missing() for store in stores.values()) or set(table["image"]) != set(samples.names):
        raise UsageError(f"{path} was scored with other weights or data than it has now; type: {evaluate}")
    return Evaluated(found, metrics, postprocess.load(found.evaluation / "thresholds.json"), samples, stores, table)
