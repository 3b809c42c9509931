"""Code of one process: saves and restores checkpoints, alternately with raw writes of the same size."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from bench.checkpoint import raw
from bench.checkpoint.job import Saved, Saving
from bench.contender import say
from bench.ranks import read_job, write_answer
from bench.training import Training
from cloudseg.core import attempt
from cloudseg.core.config import Checkpoint
from cloudseg.core.errors import CloudsegError
from cloudseg.training import checkpoint, optimizers
from cloudseg.training import comm as ranks
from cloudseg.training.checkpoint import Progress

KEEP = Checkpoint().keep


def measure(folder: Path) -> None:
    """Do the job in `folder`/job.json, and write `folder`/answer.json."""
    job = read_job(folder, Saving)
    height, width = job.size
    comm = ranks.start(attempt.current(folder))
    saves = Saves(Training(job.network, (height, width), comm), folder / "checkpoints")
    for _ in range(KEEP):  # not measured; afterwards each save removes an old checkpoint, as in a long training
        saves.save()
    content = saves.newest().read_bytes()
    raw.write(folder / "raw", content)

    snapshot, save, cpu, restore, baseline = [], [], [], [], []
    for number in range(job.rounds):
        # The order changes from round to round, so that neither has an advantage.
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
    write_answer(folder, Saved(len(content) / 1e6, snapshot, save, cpu, restore, baseline, comm.device))


class Saves:
    """The checkpoints of `training` in `folder`."""

    def __init__(self, training: Training, folder: Path) -> None:
        self._model, self._optimizer, self._folder = training.model, training.optimizer, folder
        self._saver = checkpoint.Saver(folder, KEEP, fence=lambda: None)
        self._step = 0
        _fill(self._optimizer)

    def save(self) -> tuple[float, float]:
        """Seconds until training could continue, and until the checkpoint is on the disk."""
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
    """Fill the optimizer's state with random numbers, as zeros might be faster to write."""
    numbers = np.random.default_rng(0)
    for variable in optimizers.state(optimizer):
        if variable.shape.rank:
            variable.assign(numbers.standard_normal(variable.shape, np.float32))


def _seconds(do: Callable[[], None]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
