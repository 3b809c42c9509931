"""Checkpoints of a stage: weights, optimizer and progress, whole or not at all, found again by digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf
from keras.src.saving import saving_lib

from cloudseg.core.atomic import patiently, replacing, write_json
from cloudseg.core.errors import CloudsegError, DataError, Lost
from cloudseg.training import optimizers

Arrays = Mapping[str, np.ndarray]
"""By name, in the order of the variables: "model/0012 NAME" and "optimizer/0003 NAME"."""


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
    """Those whose batches make a step; an elastic job may have fewer, which then take several each."""
    loss_sum: float = 0.0
    """Sum of the losses of the steps done in this epoch."""
    sums: Sequence[float] = ()
    """Sum of their `metrics.pooled_sums`, in one line."""
    dices: Sequence[float] = ()
    val_losses: Sequence[float] = ()
    """Of each epoch done, from validation."""
    best_epoch: int = 0
    """The epoch with the best weights, from 1; 0 while there are none."""
    weights: str = ""
    """Name of the file of the best weights, which lies beside the checkpoint; on rank 0."""
    weights_sha256: str = ""

    @property
    def best_dice(self) -> float:
        """Dice of the best weights; -1 while there are none."""
        return self.dices[self.best_epoch - 1] if self.best_epoch else -1.0


def weights_name(epoch: int) -> str:
    """Name of the file of the best weights if `epoch`, from 1, has them."""
    return f"epoch-{epoch:04d}.weights.h5"


def save_weights(path: Path, model: tf.keras.Model, fence: Callable[[], None] = lambda: None) -> str:
    """Write a Keras weights file (name ends in .weights.h5), whole or not at all; returns its sha256.

    `fence` is called before the file gets its name. Raises what `fence` raises, and CloudsegError if the file cannot be
    written.
    """
    # In memory: HDF5 does not survive a disk that fills, or a file server that fails, while it writes; and a copy on
    # the node's own disk would stay there after SIGKILL. Keras's public function writes to a path only.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        store = saving_lib.H5IOStore(file.id, mode="w")
        saving_lib._save_state(model, weights_store=store, assets_store=None, inner_path="", visited_trackables=set())
        file.flush()
        content = file.id.get_file_image()
    check_room(path, len(content))
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        fence()
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, model: tf.keras.Model) -> None:
    """Fill `model` from a file of `save_weights`. Raises DataError if the file is of another network."""
    try:
        model.load_weights(path)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} does not fit this network: {error}") from None


def sha256(path: Path) -> str:
    """Raises DataError if the file is not there."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None


def snapshot(model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, spare: Arrays | None = None) -> Arrays:
    """Copies of all variables that decide what comes next; into `spare`, an earlier one that is no longer needed, if
    there is one: fresh memory costs several times what the copy does, and training stands still for it."""
    variables = _variables(model, optimizer)
    arrays = spare or {name: np.empty(v.shape, v.dtype.as_numpy_dtype) for name, v in variables.items()}
    for name, variable in variables.items():
        np.copyto(arrays[name], np.asarray(variable.read_value()))
    return arrays


def load(path: Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer) -> None:
    """Fill `model` and `optimizer` from a checkpoint.

    Raises DataError if it is of another network or another set of trainable layers.
    """
    variables = _variables(model, optimizer)
    try:
        with np.load(path, allow_pickle=False) as saved:
            if {name: saved[name].shape for name in saved.files} != {n: tuple(v.shape) for n, v in variables.items()}:
                raise DataError(f"{path} is of another network, or of a stage that trains other layers")
            for name, variable in variables.items():
                variable.assign(saved[name])
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} does not fit this network: {error}") from None


def newest(folder: Path) -> tuple[Path, Progress] | None:
    """The arrays' file and the progress of the newest checkpoint that is whole, its best weights too; None if there is
    none.

    A damaged one is named in a warning and the one before it is taken.
    """
    for record in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            table = json.loads(record.read_text())
            arrays, digest = folder / Path(table.pop("arrays")).name, table.pop("sha256")
            progress = Progress(**table)
            _check(arrays, digest)
            if progress.weights:
                _check(folder / Path(progress.weights).name, progress.weights_sha256)
            return arrays, progress
        except (ValueError, KeyError, TypeError, AttributeError, OSError, DataError) as error:
            problem = str(error)
        print(f"warning: checkpoint {record} is damaged ({problem}); taking the one before it", file=sys.stderr)
    return None


def check_room(path: Path, size: int) -> None:
    """Raises CloudsegError if the file system of `path` has no room for so many bytes. Quotas show only in writing."""
    free = shutil.disk_usage(path.parent).free
    if free < size * 1.02:
        raise CloudsegError(f"{path} needs {size / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; clear some (see df)")


class Saver:
    """Writes the checkpoints of a stage, one at a time, while training goes on; and its best weights.

    The newest `keep` stay, with the best weights that they name, so there are never more than keep + 1 files of arrays,
    and as many of weights. To be made by the only process that writes to `folder`, as it clears away what a killed one
    left half done; `fence` is called before a file counts, and raises Lost if that is no longer so.
    """

    def __init__(self, folder: Path, keep: int, fence: Callable[[], None]) -> None:
        self._folder, self._keep, self._fence = folder, keep, fence
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._arrays: Arrays | None = None
        self.seconds = 0.0
        """What the last one took to write."""
        folder.mkdir(parents=True, exist_ok=True)
        records = {record.stem for record in folder.glob("step-*.json")}
        for path in [*folder.glob(".tmp-*"), *(p for p in folder.glob("step-*.npz") if p.stem not in records)]:
            path.unlink(missing_ok=True)

    def start(self, arrays: Arrays, progress: Progress) -> None:
        """Write a checkpoint in the background. If it cannot be written, a warning says so and training goes on.

        Raises Lost if the one before found that this process is not the only one.
        """
        self.wait()
        self._arrays = arrays
        self._thread = threading.Thread(target=self._try, args=(arrays, progress))
        self._thread.start()

    def write(self, arrays: Arrays, progress: Progress) -> None:
        """Write a checkpoint that must be there. Raises CloudsegError if it cannot be written within a minute."""
        self.wait()
        self._arrays = arrays
        patiently(lambda: self._write(arrays, progress))

    def save_best(self, epoch: int, model: tf.keras.Model) -> tuple[str, str]:
        """Write the weights of `model` as those of `epoch`, from 1; returns the file's name and sha256, for the
        checkpoints to come.

        Raises CloudsegError if the file cannot be written; Lost if this process is not the only one.
        """
        self.wait()
        self._clear_weights()  # of an epoch whose checkpoint could not be written
        name = weights_name(epoch)
        return name, save_weights(self._folder / name, model, self._fence)

    def wait(self) -> None:
        """Until what was started is written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error

    def spare(self) -> Arrays | None:
        """The arrays of the last checkpoint, once it is written, for the next; None before the first."""
        self.wait()
        return self._arrays

    def _try(self, arrays: Arrays, progress: Progress) -> None:
        try:
            self._write(arrays, progress)
        except Lost as error:
            self._error = error
        except CloudsegError as error:
            print(f"warning: no checkpoint of step {progress.step}, training goes on: {error}", file=sys.stderr)

    def _write(self, arrays: Arrays, progress: Progress) -> None:
        began = time.monotonic()
        path = self._folder / f"step-{progress.step:07d}.npz"
        check_room(path, sum(array.nbytes for array in arrays.values()))
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)
            digest = sha256(temporary)
            self._fence()
        # Last: arrays without a record do not count.
        write_json(path.with_suffix(".json"), {**dataclasses.asdict(progress), "arrays": path.name, "sha256": digest})
        records = sorted(self._folder.glob("step-*.json"))
        # Those of later steps were damaged, and training went on from before them.
        kept = [record for record in records if record.stem <= path.stem][-self._keep :]
        for old in set(records) - set(kept):
            old.unlink()
            old.with_suffix(".npz").unlink(missing_ok=True)
        self._clear_weights()
        self.seconds = time.monotonic() - began

    def _clear_weights(self) -> None:
        """Remove the weights that no checkpoint names."""
        named = {_named(record) for record in self._folder.glob("step-*.json")}
        for path in self._folder.glob("epoch-*.weights.h5"):
            if path.name not in named:
                path.unlink(missing_ok=True)


def _named(record: Path) -> str:
    """The weights that a checkpoint names; "" if it is damaged or of a version that named none."""
    try:
        return str(json.loads(record.read_text())["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _check(path: Path, digest: str) -> None:
    """Raises DataError if the file is not there or has another sha256."""
    if sha256(path) != digest:
        raise DataError(f"{path.name} has another sha256 than written")


def _variables(model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer) -> dict[str, tf.Variable]:
    parts = {"model": model.variables, "optimizer": optimizers.state(optimizer)}
    return {f"{part}/{i:04d} {v.name}": v for part, variables in parts.items() for i, v in enumerate(variables)}
