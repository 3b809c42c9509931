"""Baseline: `from_generator` over h5py, one batch at a time, with samples in random order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import h5py
import numpy as np
import tensorflow as tf

from bench.feed.job import Job, samples_per_second


def contender(job: Job) -> Callable[[], float]:
    manifest, seeds = job.open().manifest, itertools.count()
    files = [h5py.File(manifest.folder / shard.file, "r", locking=False) for shard in manifest.shards]
    datasets = [(file["image"], file["mask"]) for file in files]
    forms = ((job.batch, *manifest.size, 3), (job.batch, *manifest.size))

    def measure() -> float:
        order = job.order(next(seeds))

        def batches() -> Iterator[tuple[np.ndarray, ...]]:
            for numbers in order.tolist():
                arrays = tuple(np.empty(form, np.uint8) for form in forms)
                for row, number in enumerate(numbers):
                    sample = manifest.samples[number]
                    for dataset, array in zip(datasets[sample.shard], arrays, strict=True):
                        dataset.read_direct(array, np.s_[sample.index], np.s_[row])
                yield arrays

        signature = tuple(tf.TensorSpec(form, tf.uint8) for form in forms)
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return samples_per_second(iter(dataset.prefetch(tf.data.AUTOTUNE)), job)

    return measure
