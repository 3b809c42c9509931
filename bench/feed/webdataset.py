"""Baseline: WebDataset's reader of tar shards with raw bytes, through `from_generator`.

It is one process, as its reader in several processes is PyTorch's `DataLoader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
import webdataset as wds

from bench.feed.job import Job, samples_per_second
from bench.feed.tfrecord import SHUFFLED
from bench.source import SHARD_SAMPLES
from cloudseg.data.shards import Shards


def contender(job: Job) -> Callable[[], float]:
    shards = job.open()
    size, urls = shards.manifest.size, write(shards, job.samples, job.written / "webdataset")
    forms = {"image": (job.batch, *size, 3), "mask": (job.batch, *size)}

    def decode(sample: dict[str, bytes]) -> tuple[np.ndarray, ...]:
        return tuple(np.frombuffer(sample[key], np.uint8).reshape(form[1:]) for key, form in forms.items())

    def batches() -> Iterator[tuple[np.ndarray, ...]]:
        pipeline = wds.WebDataset(urls, shardshuffle=len(urls)).repeat().shuffle(SHUFFLED, initial=SHUFFLED)
        for arrays in pipeline.map(decode).batched(job.batch, partial=False):
            yield tuple(arrays)

    signature = tuple(tf.TensorSpec(form, tf.uint8) for form in forms.values())

    def measure() -> float:
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return samples_per_second(iter(dataset.prefetch(tf.data.AUTOTUNE)), job)

    return measure


def write(shards: Shards, samples: int, folder: Path) -> list[str]:
    folder.mkdir(parents=True)
    urls = []
    for first in range(0, samples, SHARD_SAMPLES):
        urls.append(str(folder / f"{first:06d}.tar"))
        with wds.TarWriter(urls[-1]) as writer:
            for number in range(first, min(first + SHARD_SAMPLES, samples)):
                image, mask = shards.image(number).tobytes(), shards.mask(number).tobytes()
                writer.write({"__key__": f"{number:06d}", "image": image, "mask": mask})
    return urls
