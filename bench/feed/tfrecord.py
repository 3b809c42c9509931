"""Baseline: TFRecord files of raw uint8 samples, one `Example` each, through tf.data as its guide recommends.

Tuned on 2 cores: parsing single samples is faster than parsing batches (malloc reuses their smaller buffers), reading
more files at once than there are cores is slower, and other options make no difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from bench.feed.job import Job, samples_per_second
from bench.source import SHARD_SAMPLES
from cloudseg.data.shards import Shards

SHUFFLED = 256
"""Samples in the shuffle buffer."""
READ_BYTES = 1 << 20


def contender(job: Job) -> Callable[[], float]:
    shards = job.open()
    files = write(shards, job.samples, job.written / "tfrecord")
    return lambda: samples_per_second(iter(dataset(files, shards.manifest.size, job.batch)), job)


def dataset(files: list[str], size: tuple[int, int], batch: int) -> tf.data.Dataset:
    features = {key: tf.io.FixedLenFeature([], tf.string) for key in ("image", "mask")}

    def decode(example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_single_example(example, features)
        image, mask = (tf.io.decode_raw(parsed[key], tf.uint8) for key in features)
        return tf.reshape(image, (*size, 3)), tf.reshape(mask, size)

    return (
        tf.data.Dataset.from_tensor_slices(files)
        .shuffle(len(files))
        .repeat()
        .interleave(
            lambda file: tf.data.TFRecordDataset(file, buffer_size=READ_BYTES),
            cycle_length=min(len(os.sched_getaffinity(0)), len(files)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        .shuffle(SHUFFLED)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .batch(batch, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def write(shards: Shards, samples: int, folder: Path) -> list[str]:
    folder.mkdir(parents=True)
    files = []
    for first in range(0, samples, SHARD_SAMPLES):
        files.append(str(folder / f"{first:06d}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for number in range(first, min(first + SHARD_SAMPLES, samples)):
                feature = {"image": _bytes(shards.image(number)), "mask": _bytes(shards.mask(number))}
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return files


def _bytes(array: np.ndarray) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[array.tobytes()]))
