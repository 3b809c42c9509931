"""Contender: writes one file with a codec to the page cache; measures MB/s of pixels."""

from __future__ import annotations

import time
from collections.abc import Callable

import h5py
import numpy as np

from bench.storage.codecs import Job, options
from cloudseg.data.shards import Manifest, Shards


def contender(job: Job) -> Callable[[], float]:
    shards = Shards(Manifest.load(job.shards))
    arrays = {
        "image": np.stack([shards.image(i) for i in range(job.samples)]),
        "mask": np.stack([shards.mask(i) for i in range(job.samples)]),
    }
    chosen = {name: options(job.codec, array.shape[1:]) for name, array in arrays.items()}

    def measure() -> float:
        job.file.unlink(missing_ok=True)
        began = time.perf_counter()
        with h5py.File(job.file, "w") as file:
            for name, array in arrays.items():
                dataset = file.create_dataset(name, array.shape, np.uint8, **chosen[name])
                for i, sample in enumerate(array):
                    dataset[i] = sample
        return sum(array.nbytes for array in arrays.values()) / 1e6 / (time.perf_counter() - began)

    return measure
