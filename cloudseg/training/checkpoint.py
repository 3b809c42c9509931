"""Checkpoints of a stage: weights, optimizer state and progress, written atomically and verified by sha256."""

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

from cloudseg.core.atomic import replacing, with_retries, write_json
from cloudseg.core.errors import CloudsegError, DataError, Lost
from cloudseg.training import optimizers

Arrays = Mapping[str, np.ndarray]
"""Arrays by name, in the order of the variables: "model/0012 NAME", "optimizer/0003 NAME" and "swa/0012 NAME"."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of a stage: with the variables, all that resuming needs."""

    stage: str
    epoch: int
    """Epoch of the next step, from 0."""
    step: int
    """Number of optimizer steps done in this stage."""
    seed: int
    ranks: int
    """Number of ranks whose batches make a step. In an elastic job fewer ranks process the batches of all."""
    loss_sum: float = 0.0
    """Sum of the losses of the steps done in this epoch."""
    sums: Sequence[float] = ()
    """Sum of `metrics.pooled_sums` over the steps done in this epoch, flattened."""
    dices: Sequence[float] = ()
    """Validation Dice of each finished epoch."""
    val_losses: Sequence[float] = ()
    """Validation loss of each finished epoch."""
    best_epoch: int = 0
    """Epoch with the best weights, from 1; 0 before the first validation."""
    weights: str = ""
    """Name of the file of the best weights in the checkpoint's folder; set on rank 0 only."""
    weights_sha256: str = ""
    swa_dice: float = -1.0
    """Validation Dice of the mean of the last epochs' weights; -1 before it is validated, and without such a mean."""

    @property
    def best_dice(self) -> float:
        """Validation Dice of the best weights; -1 before the first validation."""
        return max(self.swa_dice, self.dices[self.best_epoch - 1] if self.best_epoch else -1.0)


def weights_name(epoch: int, first: int = 0) -> str:
    """File name of the weights of `epoch`, from 1, or of the mean of those of the epochs `first` to `epoch`."""
    return f"epoch-{first:04d}-{epoch:04d}.weights.h5" if first else f"epoch-{epoch:04d}.weights.h5"


def save_weights(path: Path, model: tf.keras.Model, fence: Callable[[], None] = lambda: None) -> str:
    """Write a Keras weights file (name ends in .weights.h5) atomically; returns its sha256.

    `fence` is called before the file gets its name. Raises what `fence` raises, and CloudsegError if the file cannot be
    written.
    """
    # Built in memory: HDF5 may crash if the disk fills or the file server fails while it writes, and a temporary file
    # on the node's local disk would remain after SIGKILL. Keras's public function writes to a path only.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        store = saving_lib.H5IOStore(file.id, mode="w")
        saving_lib._save_state(model, weights_store=store, assets_store=None, inner_path="", visited_trackables=set())
        file.flush()
        content = file.id.get_file_image()
    check_free_space(path, len(content))
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        fence()
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, model: tf.keras.Model) -> None:
    """Load a file of `save_weights` into `model`. Raises DataError if the file is of another network."""
    try:
        model.load_weights(path)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} does not fit this network: {error}") from None


def sha256(path: Path) -> str:
    """Return the sha256 of a file. Raises DataError if the file does not exist."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None


def snapshot(
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    spare: Arrays | None = None,
    swa: Sequence[tf.Variable] = (),
) -> Arrays:
    """Copy all variables of `model` and `optimizer`, and those of a mean of weights, `swa`, to host memory.

    `spare`, an earlier snapshot that is no longer needed, is overwritten: allocating fresh memory takes several times
    as long as the copy, and training waits for it.
    """
    variables = _variables(model, optimizer, swa)
    arrays = spare or {name: np.empty(v.shape, v.dtype.as_numpy_dtype) for name, v in variables.items()}
    for name, variable in variables.items():
        np.copyto(arrays[name], np.asarray(variable.read_value()))
    return arrays


def load(
    path: Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, swa: Sequence[tf.Variable] = ()
) -> None:
    """Load a checkpoint into `model`, `optimizer` and the mean of weights `swa`.

    Raises DataError if it is of another network or another set of trainable layers.
    """
    variables = _variables(model, optimizer, swa)
    try:
        with np.load(path, allow_pickle=False) as saved:
            if {name: saved[name].shape for name in saved.files} != {n: tuple(v.shape) for n, v in variables.items()}:
                raise DataError(f"{path} is of another network, or of a stage that trains other layers")
            for name, variable in variables.items():
                variable.assign(saved[name])
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} does not fit this network: {error}") from None


def newest(folder: Path) -> tuple[Path, Progress] | None:
    """Return the arrays file and the progress of the newest intact checkpoint; None if there is none.

    A checkpoint is intact if its arrays and its best weights have the recorded sha256. A warning names each damaged
    checkpoint, and the previous one is used.
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
        print(f"warning: checkpoint {record} is damaged ({problem}); using the previous one", file=sys.stderr)
    return None


def check_free_space(path: Path, size: int) -> None:
    """Raises CloudsegError if the file system of `path` has less than `size` bytes free. Quotas are not seen here."""
    free = shutil.disk_usage(path.parent).free
    if free < size * 1.02:
        raise CloudsegError(f"{path} needs {size / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; free some (see df)")


class Saver:
    """Writes the checkpoints of a stage in a background thread, one at a time, and the best weights.

    The newest `keep` checkpoints and the best weights that they name are kept, so there are never more than keep + 1
    files of arrays, and as many of weights. Only one process may write to `folder`: the constructor removes what a
    killed process left unfinished. `fence` is called before a file gets its name, and raises Lost if another process
    has taken over.
    """

    def __init__(self, folder: Path, keep: int, fence: Callable[[], None]) -> None:
        self._folder, self._keep, self._fence = folder, keep, fence
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._arrays: Arrays | None = None
        self.seconds = 0.0
        """Seconds that the last checkpoint took to write."""
        folder.mkdir(parents=True, exist_ok=True)
        records = {record.stem for record in folder.glob("step-*.json")}
        for path in [*folder.glob(".tmp-*"), *(p for p in folder.glob("step-*.npz") if p.stem not in records)]:
            path.unlink(missing_ok=True)

    def start(self, arrays: Arrays, progress: Progress) -> None:
        """Write a checkpoint in the background. If it cannot be written, print a warning; training continues.

        Raises Lost if another process had taken over when the previous checkpoint was written.
        """
        self.wait()
        self._arrays = arrays
        self._thread = threading.Thread(target=self._write_or_warn, args=(arrays, progress))
        self._thread.start()

    def write(self, arrays: Arrays, progress: Progress) -> None:
        """Write a checkpoint before returning. Raises CloudsegError if it cannot be written within a minute."""
        self.wait()
        self._arrays = arrays
        with_retries(lambda: self._write(arrays, progress))

    def save_best(self, epoch: int, model: tf.keras.Model, first: int = 0) -> tuple[str, str]:
        """Write the weights of `model` as those of `epoch`, from 1, or as the mean of the epochs `first` to `epoch`.

        Returns the file's name and sha256, which the next checkpoints record. Raises CloudsegError if the file cannot
        be written, Lost if another process has taken over.
        """
        self.wait()
        self._remove_unreferenced_weights()  # of an epoch whose checkpoint could not be written
        name = weights_name(epoch, first)
        return name, save_weights(self._folder / name, model, self._fence)

    def wait(self) -> None:
        """Wait until the checkpoint in progress is written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error

    def spare(self) -> Arrays | None:
        """Arrays of the last checkpoint, once it is written, for reuse by `snapshot`; None before the first."""
        self.wait()
        return self._arrays

    def _write_or_warn(self, arrays: Arrays, progress: Progress) -> None:
        try:
            self._write(arrays, progress)
        except Lost as error:
            self._error = error
        except CloudsegError as error:
            print(f"warning: no checkpoint of step {progress.step}, training continues: {error}", file=sys.stderr)

    def _write(self, arrays: Arrays, progress: Progress) -> None:
        began = time.monotonic()
        path = self._folder / f"step-{progress.step:07d}.npz"
        check_free_space(path, sum(array.nbytes for array in arrays.values()))
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)
            digest = sha256(temporary)
            self._fence()
        # The record is written last: arrays without a record are ignored.
        write_json(path.with_suffix(".json"), {**dataclasses.asdict(progress), "arrays": path.name, "sha256": digest})
        records = sorted(self._folder.glob("step-*.json"))
        # Checkpoints of later steps were damaged, and training resumed from an earlier one.
        kept = [record for record in records if record.stem <= path.stem][-self._keep :]
        for old in set(records) - set(kept):
            old.unlink()
            old.with_suffix(".npz").unlink(missing_ok=True)
        self._remove_unreferenced_weights()
        self.seconds = time.monotonic() - began

    def _remove_unreferenced_weights(self) -> None:
        """Remove weights files that no checkpoint names."""
        named = {_weights_of(record) for record in self._folder.glob("step-*.json")}
        for path in self._folder.glob("epoch-*.weights.h5"):
            if path.name not in named:
                path.unlink(missing_ok=True)


def _weights_of(record: Path) -> str:
    """Name of the weights file of a checkpoint; "" if it is damaged or of a version that did not record it."""
    try:
        return str(json.loads(record.read_text())["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _check(path: Path, digest: str) -> None:
    """Raises DataError if the file does not exist or its sha256 is not `digest`."""
    if sha256(path) != digest:
        raise DataError(f"{path.name} has another sha256 than written")


def _variables(
    model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, swa: Sequence[tf.Variable]
) -> dict[str, tf.Variable]:
    parts = {"model": model.variables, "optimizer": optimizers.state(optimizer), "swa": swa}
    return {f"{part}/{i:04d} {v.name}": v for part, variables in parts.items() for i, v in enumerate(variables)}
