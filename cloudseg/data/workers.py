"""Processes that make batches in memory which they share with the training process.

Augmentation holds Python's lock half of the time, so threads do not scale. The processes import neither TensorFlow
nor the program that started them, hold one open socket to it, and end when that closes, however it died.
"""

from __future__ import annotations

import mmap
import os
import queue
import socket
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cloudseg
from cloudseg.core.errors import CloudsegError
from cloudseg.core.signals import blocked
from cloudseg.data.batches import Augment, batch_arrays, batch_bytes, fill
from cloudseg.data.buffers import Slots, reuse_freed_memory
from cloudseg.data.shards import Manifest, Shards

WAITING = 4
"""Slots beyond one a worker: batches that are made and not yet used."""


class Job(NamedTuple):
    """What a worker is told when it starts."""

    manifest: Manifest
    augment: Augment | None
    batch: int
    slots: int


class Task(NamedTuple):
    """One batch: `samples`, int (b,), to be made in slot number `slot`."""

    slot: int
    samples: np.ndarray
    seed: int
    epoch: int


class Workers:
    """`count` processes, each making one batch at a time. Safe to use from many threads; close it at the end."""

    def __init__(self, manifest: Manifest, augment: Augment | None, batch: int, count: int) -> None:
        self._batch, self._size = batch, manifest.size
        job = Job(manifest, augment, batch, count + WAITING)
        descriptor = os.memfd_create("cloudseg-batches")
        try:
            os.ftruncate(descriptor, job.slots * batch_bytes(batch, manifest.size))
            self._slots = Slots(mmap.mmap(descriptor, 0), job.slots)
            self._workers = [_Worker(job, descriptor) for _ in range(count)]
        finally:
            os.close(descriptor)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def make(self, samples: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """A batch, as `batches.fill` makes it: images uint8 (b, H, W, 3) and masks uint8 (b, H, W).

        Raises what `fill` raises in the worker, CloudsegError if the worker is dead.
        """
        slot, memory = self._slots.take()
        worker = self._idle.get()
        try:
            worker.run(Task(slot, samples, seed, epoch))
        finally:
            self._idle.put(worker)
        return batch_arrays(self._slots.spared(memory), self._batch, self._size)

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            try:
                worker.process.wait(5)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()


_START = "import sys; from cloudseg.data.workers import serve; serve(*map(int, sys.argv[1:]))"


class _Worker:
    """One process and the way to it."""

    def __init__(self, job: Job, memory: int) -> None:
        ours, theirs = socket.socketpair()
        try:
            # Workers leave stop signals alone for good: batches of the last step are to come.
            with blocked():
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _START, str(theirs.fileno()), str(memory)],
                    pass_fds=(theirs.fileno(), memory),
                    env=os.environ | {"PYTHONPATH": _with_package(os.environ.get("PYTHONPATH", ""))},
                )
        finally:
            theirs.close()
        self.connection = Connection(ours.detach())
        self.connection.send(job)

    def run(self, task: Task) -> None:
        try:
            self.connection.send(task)
            error = self.connection.recv()
        except (OSError, EOFError) as lost:
            raise CloudsegError(
                f"process {self.process.pid}, which makes batches, was killed (out of memory?); the same command goes "
                "on from the last checkpoint; CLOUDSEG_FEED_WORKERS=1 needs less memory"
            ) from lost
        if error is not None:
            raise error


def _with_package(path: str) -> str:
    """PYTHONPATH by which a process finds the code that runs here, wherever it runs."""
    here = str(Path(cloudseg.__file__).parents[1])
    return os.pathsep.join([here, path]) if path else here


def serve(descriptor: int, memory: int) -> None:
    """The life of a worker: a job, then tasks until the other side of the socket is gone."""
    reuse_freed_memory()
    connection = Connection(descriptor)
    job: Job = connection.recv()
    slots = Slots(mmap.mmap(memory, 0), job.slots)
    shards = Shards(job.manifest)
    while True:
        try:
            task: Task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            images, masks = batch_arrays(slots[task.slot], job.batch, job.manifest.size)
            fill(images, masks, shards, task.samples, job.augment, task.seed, task.epoch)
            answer: Exception | None = None
        except CloudsegError as error:
            answer = error
        except Exception:
            answer = RuntimeError(traceback.format_exc())
        connection.send(answer)
