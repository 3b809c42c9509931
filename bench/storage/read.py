"""Contender: reads samples in random order from one file into reused arrays, through h5py or a memory map."""

from __future__ import annotations

import time
from collections.abc import Callable

import h5py
import numpy as np

from bench.storage.codecs import PLUGINS, Job

NAMES = ("image", "mask")


def contender(job: Job) -> Callable[[], float]:
    if job.codec in PLUGINS:
        import hdf5plugin  # noqa: F401  registers the codecs
    file = h5py.File(job.file, "r")
    out = [np.empty(file[name].shape[1:], np.uint8) for name in NAMES]
    read = _through_map(job, file, out) if job.mapped else _through_h5py(file, out)
    random = np.random.default_rng(0)

    def measure() -> float:
        began, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - began) < job.seconds:
            for i in random.permutation(job.samples)[:16].tolist():
                read(i)
            count += 16
        return count / elapsed

    return measure


def _through_h5py(file: h5py.File, out: list[np.ndarray]) -> Callable[[int], None]:
    datasets = [file[name] for name in NAMES]

    def read(i: int) -> None:
        for dataset, array in zip(datasets, out, strict=True):
            dataset.read_direct(array, np.s_[i])

    return read


def _through_map(job: Job, file: h5py.File, out: list[np.ndarray]) -> Callable[[int], None]:
    content = np.memmap(job.file, np.uint8, mode="r")
    views = []
    for name in NAMES:
        start = file[name].id.get_offset()
        views.append(np.asarray(content[start : start + file[name].size]).reshape(file[name].shape))

    def read(i: int) -> None:
        for view, array in zip(views, out, strict=True):
            np.copyto(array, view[i])

    return read
