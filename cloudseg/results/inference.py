"""From images to probabilities on disk, on any number of ranks; the one place where networks predict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import TRUTH_SIZE, Manifest
from cloudseg.errors import Stopped
from cloudseg.nets.models import Network
from cloudseg.results.sources import Source
from cloudseg.results.store import PART, Store
from cloudseg.run import Run
from cloudseg.training import start
from cloudseg.training.log import say, shown
from cloudseg.training.parts import build_network
from cloudseg.training.rank import Rank

FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (1,), (1, 2))
"""Axes of a batch: as it is, left and right, top and bottom, both."""
THREADS = 4

Images = tuple[np.ndarray, np.ndarray]


def fill(run: Run, wanted: Sequence[tuple[str, Store]], source: Source, rank: Rank) -> None:
    """Predict what is missing of each stage's store. Ranks deal out the files; nothing passes between them.

    Raises Stopped, with the files that are finished on disk, when a signal asks for it; DataError if weights are not
    those that their stage wrote.
    """
    settings, comm = run.settings, rank.comm
    manifest = Manifest.load(settings.data)
    network = None
    for stage, store in wanted:
        if comm.rank == 0:
            store.prepare()
        comm.barrier()
        # Files are dealt by their number, so that ranks need not agree on which are there.
        own = [part for part in store.missing() if part % comm.size == comm.rank]
        if not own:
            continue
        network = network or build_network(settings, manifest)
        start.load_best(run, stage, network.model)
        say(comm, f"{stage}: probabilities of {len(store)} images{', flipped four ways' * store.about['flips']}")
        predict = predictor(network, FLIPS if store.about["flips"] else FLIPS[:1])
        batch = min(settings.batch, PART)
        for index in shown(comm, f"{stage} images", len(own), len(own)):
            numbers = store.parts()[own[index]]
            found = []
            for images, valid in _batches(source, numbers, batch, manifest.size):
                if rank.stop.asked:
                    raise Stopped(f"stopped while predicting {stage}; the same command goes on from here")
                found.append(predict(images, valid))
                rank.pulse.moves()
            store.write(own[index], np.concatenate(found))
    comm.barrier()


def predictor(network: Network, flips: Iterable[tuple[int, ...]]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What turns images, uint8 (n, H, W, 3), and where they have data, bool (n, 350, 525), into probabilities, uint8
    (n, C, 350, 525): the mean over `flips`, resized bilinearly."""
    ways = tuple(flips)

    @tf.function(reduce_retracing=True)
    def graph(images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        total = 0.0
        for axes in ways:
            flipped = tf.reverse(images, axes) if axes else images
            probability = tf.sigmoid(network.logits(flipped, training=False))
            total += tf.reverse(probability, axes) if axes else probability
        resized = tf.image.resize(total / len(ways), TRUTH_SIZE) * tf.cast(valid, tf.float32)[..., None]
        return tf.transpose(tf.cast(tf.round(255 * resized), tf.uint8), (0, 3, 1, 2))

    def predict(images: np.ndarray, valid: np.ndarray) -> np.ndarray:
        found: np.ndarray = graph(tf.constant(images), tf.constant(valid)).numpy()
        if found.shape[1] != len(CLASSES):
            raise ValueError(f"the network has {found.shape[1]} classes, not {len(CLASSES)}")
        return found

    return predict


def _batches(source: Source, numbers: range, batch: int, size: tuple[int, int]) -> Iterator[Images]:
    """The images of a file in batches, read while the one before is predicted."""
    with ThreadPoolExecutor(THREADS) as pool:
        read: list[Any] = [pool.submit(source.read, number, size) for number in numbers]
        for first in range(0, len(read), batch):
            images, valid = zip(*(future.result() for future in read[first : first + batch]), strict=True)
            yield np.stack(images), np.stack(valid)
