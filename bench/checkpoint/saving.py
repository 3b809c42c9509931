"""One process: saves and restores the product's checkpoints, in turns with raw writes of as many bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from bench.checkpoint import raw
from bench.checkpoint.job import Saved, Saving
from bench.contender import say
from bench.ranks import answer, told
from bench.training import Training
from cloudseg.core import attempt
from cloudseg.core.config import Checkpoint
from cloudseg.core.errors import CloudsegError
from cloudseg.training import checkpoint, optimizers
from cloudseg.training import comm as ranks
from cloudseg.training.checkpoint import Progress

KEEP = Checkpoint().keep


def measure(folder: Path) -> None:
    """Do what `folder`/job.json says, and leave `folder`/answer.json."""
    job = told(folder, Saving)
    height, width = job.size
    comm = ranks.start(attempt.own(folder))
    saves = Saves(Training(job.network, (height, width), comm), folder / "checkpoints")
    for _ in range(KEEP):  # not measured: from now on one is removed for each that is written, as in a long training
        saves.save()
    content = saves.newest().read_bytes()
    raw.write(folder / "raw", content)

    snapshot, save, cpu, restore, baseline = [], [], [], [], []
    for number in range(job.rounds):
        # What comes first changes from round to round, so that neither gains by it.
        for ours in (True, False) if number % 2 == 0 else (False, True):
            raw.rest()
            if ours:
                used = time.process_time()
                stalled, saved = saves.save()
                cpu.append(time.process_time() - used)
                snapshot.append(stalled)
                save.append(saved)
                restore.append(saves.restore())
            else:
                baseline.append(_seconds(lambda: raw.write(folder / "raw", content)))
        say(f"round {number + 1} of {job.rounds}: saved in {save[-1]:.3g} s, raw write {baseline[-1]:.3g} s")
    answer(folder, Saved(len(content) / 1e6, snapshot, save, cpu, restore, baseline, comm.device))


class Saves:
    """The checkpoints of `training` in `folder`."""

    def __init__(self, training: Training, folder: Path) -> None:
        self._model, self._optimizer, self._folder = training.model, training.optimizer, folder
        self._saver = checkpoint.Saver(folder, KEEP, fence=lambda: None)
        self._step = 0
        _fill(self._optimizer)

    def save(self) -> tuple[float, float]:
        """Seconds until training could go on, and until the disk has it all."""
        self._step += 1
        began = time.perf_counter()
        arrays = checkpoint.snapshot(self._model, self._optimizer, self._saver.spare())
        stalled = time.perf_counter() - began
        self._saver.write(arrays, Progress(stage="bench", epoch=0, step=self._step, seed=0, ranks=1))
        return stalled, time.perf_counter() - began

    def restore(self) -> float:
        """Seconds to find the newest checkpoint, check it and load it, from the disk."""
        raw.forget(self.newest())
        return _seconds(lambda: checkpoint.load(self.newest(), self._model, self._optimizer))

    def newest(self) -> Path:
        found = checkpoint.newest(self._folder)
        if found is None or found[1].step != self._step:
            raise CloudsegError(f"{self._folder} does not hold the checkpoint that was written last")
        return found[0]


def _fill(optimizer: tf.keras.optimizers.Optimizer) -> None:
    """Numbers as after some steps: nothing on the way to the disk may gain by zeros."""
    numbers = np.random.default_rng(0)
    for variable in optimizers.state(optimizer):
        if variable.shape.rank:
            variable.assign(numbers.standard_normal(variable.shape, np.float32))


def _seconds(do: Callable[[], None]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
