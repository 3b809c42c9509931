"""Worker processes that make batches in memory shared with the training process.

Augmentation holds Python's interpreter lock half of the time, so threads do not scale. Worker processes import neither
TensorFlow nor the program that started them. They are connected to it by a socket, and end when the socket closes,
also if the program is killed.
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
from cloudseg.data.batches import Augment, batch_arrays, batch_bytes, fill, sample_size
from cloudseg.data.buffers import Slots, reuse_freed_memory
from cloudseg.data.shards import Manifest, Shards

EXTRA_SLOTS = 4
"""Slots beyond one per worker, for batches that are made and not yet used."""


class Job(NamedTuple):
    """Settings that a worker receives when it starts."""

    manifest: Manifest
    augment: Augment | None
    batch: int
    slots: int


class Task(NamedTuple):
    """One batch to make: `samples`, int (b,), in slot number `slot`."""

    slot: int
    samples: np.ndarray
    seed: int
    epoch: int


class Workers:
    """`count` worker processes, each making one batch at a time. Safe to use from many threads; close it at the end."""

    def __init__(self, manifest: Manifest, augment: Augment | None, batch: int, count: int) -> None:
        self._batch, self._size = batch, sample_size(manifest, augment)
        job = Job(manifest, augment, batch, count + EXTRA_SLOTS)
        descriptor = os.memfd_create("cloudseg-batches")
        try:
            os.ftruncate(descriptor, job.slots * batch_bytes(batch, self._size))
            self._slots = Slots(mmap.mmap(descriptor, 0), job.slots)
            self._workers = [_Worker(job, descriptor) for _ in range(count)]
        finally:
            os.close(descriptor)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def make(self, samples: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Make a batch with `batches.fill`: images, uint8 (b, H, W, 3), and masks, uint8 (b, H, W).

        Raises what `fill` raises in the worker, and CloudsegError if the worker has died.
        """
        slot, memory = self._slots.take()
        worker = self._idle.get()
        try:
            worker.run(Task(slot, samples, seed, epoch))
        finally:
            self._idle.put(worker)
        return batch_arrays(self._slots.copy_if_last(memory), self._batch, self._size)

    def close(self) -> None:
        """End the worker processes."""
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
    """One worker process and the connection to it."""

    def __init__(self, job: Job, memory: int) -> None:
        parent_end, worker_end = socket.socketpair()
        try:
            # Stop signals stay blocked in workers, as training needs batches until the end of its last step.
            with blocked():
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _START, str(worker_end.fileno()), str(memory)],
                    pass_fds=(worker_end.fileno(), memory),
                    env=os.environ | {"PYTHONPATH": _with_package(os.environ.get("PYTHONPATH", ""))},
                )
        finally:
            worker_end.close()
        self.connection = Connection(parent_end.detach())
        self.connection.send(job)

    def run(self, task: Task) -> None:
        try:
            self.connection.send(task)
            error = self.connection.recv()
        except (OSError, EOFError) as lost:
            raise CloudsegError(
                f"process {self.process.pid}, which makes batches, was killed (out of memory?); the same command "
                "resumes from the last checkpoint; CLOUDSEG_FEED_WORKERS=1 needs less memory"
            ) from lost
        if error is not None:
            raise error


def _with_package(path: str) -> str:
    """PYTHONPATH with which a process imports the same code as this one, in any working folder."""
    here = str(Path(cloudseg.__file__).parents[1])
    return os.pathsep.join([here, path]) if path else here


def serve(descriptor: int, memory: int) -> None:
    """Main function of a worker: receive a Job, then do Tasks until the socket is closed.

    `descriptor` is the socket's, `memory` that of the shared memory.
    """
    reuse_freed_memory()
    connection = Connection(descriptor)
    job: Job = connection.recv()
    slots = Slots(mmap.mmap(memory, 0), job.slots)
    shards, size = Shards(job.manifest), sample_size(job.manifest, job.augment)
    while True:
        try:
            task: Task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            images, masks = batch_arrays(slots[task.slot], job.batch, size)
            fill(images, masks, shards, task.samples, job.augment, task.seed, task.epoch)
            answer: Exception | None = None
        except CloudsegError as error:
            answer = error
        except Exception:
            answer = RuntimeError(traceback.format_exc())
        connection.send(answer)
