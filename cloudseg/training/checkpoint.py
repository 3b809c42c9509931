"""Checkpoints of a stage: weights, optimizer and progress, whole or not at all, found again by digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf

from cloudseg.atomic import replacing, write_json
from cloudseg.errors import DataError
from cloudseg.training import optimizers

OPTIMIZER = "optimizer_state"


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a stage stands; with the weights it is all that going on needs."""

    stage: str
    epoch: int
    """The epoch in which the next step lies, from 0."""
    step: int
    """Optimizer steps done in this stage."""
    seed: int
    ranks: int
    loss_sum: float = 0.0
    """Sum of the losses of the steps done in this epoch."""
    sums: Sequence[float] = ()
    """Sum of their `metrics.pooled_sums`, in one line."""
    dices: Sequence[float] = ()
    val_losses: Sequence[float] = ()
    """Of each epoch done, from validation."""


def save_weights(path: Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer | None = None) -> str:
    """Write a Keras weights file (name ends in .weights.h5), with the optimizer's variables in a group of their own.

    Appears whole or not at all; returns its sha256.
    """
    with replacing(path) as temporary:
        model.save_weights(temporary)
        if optimizer is not None:
            with h5py.File(temporary, "a") as file:
                group = file.create_group(OPTIMIZER)
                for index, variable in enumerate(optimizers.state(optimizer)):
                    group.create_dataset(f"{index:05d}", data=variable.numpy(), track_times=False)
        return sha256(temporary)


def load_weights(path: Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer | None = None) -> None:
    """Fill `model`, and `optimizer` if given, from a file of `save_weights`.

    Raises DataError if the file is of another network or another set of trainable layers.
    """
    try:
        model.load_weights(path)
        if optimizer is None:
            return
        with h5py.File(path) as file:
            saved = [np.asarray(file[OPTIMIZER][key]) for key in sorted(file[OPTIMIZER])]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} does not fit this network: {error}") from None
    variables = optimizers.state(optimizer)
    if [v.shape for v in saved] != [tuple(v.shape) for v in variables]:
        raise DataError(f"{path} is of a stage that trains other layers")
    for variable, value in zip(variables, saved, strict=True):
        variable.assign(value)


def sha256(path: Path) -> str:
    """Raises DataError if the file is not there."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None


def save(
    folder: Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, progress: Progress, keep: int
) -> Path:
    """Write the checkpoint of `progress.step` and drop all but the newest `keep`; returns its JSON.

    The JSON is written last: a weights file without one does not count.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"step-{progress.step:07d}.weights.h5"
    digest = save_weights(weights, model, optimizer)
    record = _record(weights)
    write_json(record, {**dataclasses.asdict(progress), "weights": weights.name, "sha256": digest})
    for old in sorted(folder.glob("step-*.json"))[:-keep]:
        old.unlink()
        _weights(old).unlink(missing_ok=True)
    return record


def newest(folder: Path) -> tuple[Path, Progress] | None:
    """The weights file and progress of the newest checkpoint that is whole, None if there is none.

    A damaged one is named in a warning and the one before it is taken.
    """
    for record in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            table = json.loads(record.read_text())
            weights, digest = folder / table.pop("weights"), table.pop("sha256")
            progress = Progress(**table)
            if sha256(weights) == digest:
                return weights, progress
            problem = f"{weights.name} has another sha256 than written"
        except (ValueError, KeyError, TypeError, DataError) as error:
            problem = str(error)
        print(f"warning: checkpoint {record} is damaged ({problem}); taking the one before it", file=sys.stderr)
    return None


def _record(weights: Path) -> Path:
    return weights.with_name(weights.name.removesuffix(".weights.h5") + ".json")


def _weights(record: Path) -> Path:
    return record.with_suffix(".weights.h5")
