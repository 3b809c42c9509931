"""Inference: predicts probabilities of images and stores them, on any number of ranks."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from cloudseg.core.errors import Stopped
from cloudseg.core.run import Run
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import TRUTH_SIZE, Manifest
from cloudseg.nets.models import Network
from cloudseg.results.probabilities import PART, Store
from cloudseg.results.scenes import Scenes
from cloudseg.results.sources import Pictures, Prepared, Source
from cloudseg.training import restore
from cloudseg.training.build import build_network
from cloudseg.training.log import log_line, with_progress
from cloudseg.training.rank import Rank

Predict = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]]
"""See `predictor`."""
FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (1,), (1, 2))
"""Axes of a batch to flip: none, left and right, top and bottom, both."""
THREADS = 4
"""Threads that read images. Decoders and resizing release the interpreter lock."""
AHEAD = 1
"""Files of images that are read before their turn."""


def fill(run: Run, wanted: Sequence[tuple[str, Store]], source: Source, rank: Rank) -> None:
    """Predict the missing files of each stage's store. Ranks divide the files without communication.

    Raises Stopped after a signal, with the finished files on disk; DataError if weights are not those that their stage
    wrote, or if an image cannot be read.
    """
    settings, comm = run.settings, rank.comm
    manifest = Manifest.load(settings.data)
    network = None
    for stage, store in wanted:
        if comm.rank == 0:
            store.prepare()
        comm.barrier()
        # Files are assigned to ranks by number, so that ranks need not agree on which ones are missing.
        missing = set(store.missing())
        assigned = range(comm.rank, len(store.parts()), comm.size)
        parts = [part for part in assigned if part in missing or _now_readable(store, part, source, manifest.size)]
        if not parts:
            continue
        network = network or build_network(settings, manifest)
        restore.load_best(run, stage, network.model)
        flips = ", each flipped in four ways" * store.about["flips"]
        log_line(comm, f"{stage}: probabilities of {len(store)} images{flips}")
        predict = predictor(network, FLIPS if store.about["flips"] else FLIPS[:1])
        predict_parts(store, parts, source, manifest.size, predict, min(settings.batch, PART), rank, stage)
    comm.barrier()


def predict_parts(
    store: Store,
    parts: Sequence[int],
    source: Source,
    size: tuple[int, int],
    predict: Predict,
    batch: int,
    rank: Rank,
    stage: str,
) -> None:
    """Predict the images of some of a store's files, at `size`. Reading and writing go on in threads meanwhile.

    Raises as `fill` does.
    """
    numbers = [store.parts()[part] for part in parts]
    with _read_ahead(source, numbers, size) as ahead, ThreadPoolExecutor(1) as writer:
        written: Future[None] | None = None
        for index in with_progress(rank.comm, f"{stage} images", len(parts), len(parts)):
            predicted: list[tuple[np.ndarray, np.ndarray | None]] = []
            read: list[Prepared] = []
            for images in _in_batches(next(ahead), batch):
                if rank.stop.requested:
                    raise Stopped(f"stopped while predicting {stage}; the same command resumes from here")
                pixels, valid = [each.image for each in images], [each.valid for each in images]
                predicted.append(predict(np.stack(pixels), np.stack(valid)))
                read += images
                rank.heartbeat.progressed()
            probability, presence = zip(*predicted, strict=True)
            with_head = None if presence[0] is None else np.concatenate(presence)
            if written:
                written.result()
            written = writer.submit(store.write, parts[index], np.concatenate(probability), read, with_head)
        if written:
            written.result()


def predictor(network: Network, flips: Iterable[tuple[int, ...]]) -> Predict:
    """Return a function that predicts probabilities, uint8 (n, C, 350, 525), 255 for 1, and those of the presence head,
    float32 (n, C), or None without it.

    Its arguments are images, uint8 (n, H, W, 3), and their pixels with data, bool (n, 350, 525). Probabilities are the
    mean over `flips`; those of pixels are resized bilinearly, and 0 without data.
    """
    ways = tuple(flips)

    @tf.function(autograph=False, reduce_retracing=True)
    def graph(images: tf.Tensor, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        total, presence = 0.0, []
        for axes in ways:
            flipped = tf.reverse(images, axes) if axes else images
            masks, present = network.outputs(flipped, training=False)
            probability = tf.sigmoid(masks)
            total += tf.reverse(probability, axes) if axes else probability
            if present is not None:
                presence.append(tf.sigmoid(present))
        resized = tf.image.resize(total / len(ways), TRUTH_SIZE) * tf.cast(valid, tf.float32)[..., None]
        pixels = tf.transpose(tf.cast(tf.round(255 * resized), tf.uint8), (0, 3, 1, 2))
        return pixels, tf.add_n(presence) / len(ways) if presence else None

    def predict(images: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        pixels, presence = graph(tf.constant(images), tf.constant(valid))
        if pixels.shape[1] != len(CLASSES):
            raise ValueError(f"the network has {pixels.shape[1]} classes, not {len(CLASSES)}")
        return pixels.numpy(), None if presence is None else presence.numpy()

    return predict


def find_digests(source: Pictures | Scenes, rank: Rank) -> None:
    """Set `source.digests` on every rank. Each rank reads the pictures that it will predict. Raises Stopped after a
    signal."""
    comm = rank.comm
    digests: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(comm.rank * PART, len(source.names), comm.size * PART):
            if rank.stop.requested:
                raise Stopped("stopped while reading pictures; the same command starts again")
            digests += pool.map(source.digest, range(first, min(first + PART, len(source.names))))
            rank.heartbeat.progressed()
    gathered = [iter(each) for each in comm.gather(digests)]
    source.digests = [next(gathered[number // PART % comm.size]) for number in range(len(source.names))]


def _now_readable(store: Store, part: int, source: Source, size: tuple[int, int]) -> bool:
    """Whether an image that was skipped when a file was written can be read now, for example with other permissions.

    Raises DataError for an image that cannot be read, unless the source skips those.
    """
    return any(not source.read(number, size).skipped for number in store.skipped(part))


@contextlib.contextmanager
def _read_ahead(
    source: Source, parts: Sequence[range], size: tuple[int, int]
) -> Iterator[Iterator[list[Future[Prepared]]]]:
    """Context of an iterator over the images of each file, which are read in threads, AHEAD files before their turn."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[list[Future[Prepared]]] = deque()

        def submitted() -> Iterator[list[Future[Prepared]]]:
            for numbers in parts:
                waiting.append([pool.submit(source.read, number, size) for number in numbers])
                if len(waiting) > AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()

        try:
            yield submitted()
        finally:
            pool.shutdown(cancel_futures=True)


def _in_batches(read: list[Future[Prepared]], batch: int) -> Iterator[list[Prepared]]:
    for first in range(0, len(read), batch):
        yield [future.result() for future in read[first : first + batch]]
