"""Cloudseg's feed: tensors from shards, with or without augmentation."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from bench.feed.job import Job, samples_per_second
from cloudseg.data.augment import Augmenter
from cloudseg.data.feed import Feed
from cloudseg.data.shards import Shards


def contender(job: Job) -> Callable[[], float]:
    feed, epochs = open_feed(job.open(), job.batch, job.augment, job.workers), itertools.count()

    def measure() -> float:
        epoch = next(epochs)
        return samples_per_second(feed.batches(job.order(epoch), epoch), job)

    return measure


def open_feed(shards: Shards, batch: int, augment: bool, workers: int) -> Feed:
    """Open the feed; `bench` opens it only here."""
    return Feed(shards, batch, Augmenter(shards.manifest.size) if augment else None, 0, workers)
