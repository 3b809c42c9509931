"""Writes a generated data set: JPEGs, train.csv, sample_submission.csv and, last, demo.json."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from cloudseg.core.errors import CloudsegError, DataError
from cloudseg.data.labels import CLASSES, HEADER
from cloudseg.data.process_pool import Context, kill_all
from cloudseg.data.rle import encode
from cloudseg.data.synthetic.folder import (
    RECORD,
    SUBMISSION,
    TABLE,
    TEST_FOLDER,
    TRAIN_FOLDER,
    holds,
    publish,
)
from cloudseg.data.synthetic.layout import HEIGHT, WIDTH, Layout, plan, union_mask
from cloudseg.data.synthetic.painter import picture

FORMAT = 1
"""Version of the painted images and written files. Raise it if equal arguments would give other bytes."""
FIRST_TEST_INDEX = 1 << 27
JPEG_QUALITY = 85
NEAR_BLACK = 10
"""A pixel with a smaller R + G + B is a no-data pixel and has no class, as in the published masks."""


@dataclass(frozen=True)
class Recipe:
    """The arguments that decide a data set."""

    images: int
    test_images: int
    seed: int


@dataclass(frozen=True, order=True)
class Picture:
    """One image of a data set; `file` is relative to the data set's folder."""

    file: str
    seed: int
    index: int

    @property
    def name(self) -> str:
        return Path(self.file).name


def write_dataset(
    folder: Path,
    recipe: Recipe,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> bool:
    """Write the data set of a recipe into a folder; returns False if the folder already holds it completely.

    Images of an interrupted run are kept, and the rest is added. `progress` is called with the number of finished
    images and of all images. Raises UsageError, before anything is written, if the folder holds something else.
    """
    train, test = pictures(recipe)
    record = {"format": FORMAT, **asdict(recipe)}
    if holds(folder, record, {one.file for one in train + test}):
        return False
    for name in (TRAIN_FOLDER, TEST_FOLDER):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for done, text in enumerate(_in_parallel(partial(_make, folder), train + test, processes), 1):
        rows.append(text)
        progress(done, len(train) + len(test))
    header = ",".join(HEADER) + "\n"
    publish(folder / TABLE, (header + "".join(rows[: len(train)])).encode())
    dummies = (rows_of(one.name, ["1 1"] * len(CLASSES)) for one in test)
    publish(folder / SUBMISSION, (header + "".join(dummies)).encode())
    publish(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())
    return True


def progress_on(stream: TextIO) -> Callable[[int, int], None]:
    """A `progress` function that prints to `stream`: a bar on a terminal, elsewhere a line about every tenth."""
    terminal = stream.isatty()

    def show(done: int, of: int) -> None:
        if terminal:
            bar, end = "#" * (40 * done // of), "\n" if done == of else ""
            print(f"\r[{bar:<40}] {done}/{of} images", end=end, file=stream, flush=True)
        elif 10 * done // of > 10 * (done - 1) // of:
            print(f"{done} of {of} images", file=stream, flush=True)

    return show


def pictures(recipe: Recipe) -> tuple[list[Picture], list[Picture]]:
    """Training and test images of a recipe, each sorted by name."""
    seed = recipe.seed
    test_indices = range(FIRST_TEST_INDEX, FIRST_TEST_INDEX + recipe.test_images)
    train = (Picture(f"{TRAIN_FOLDER}/{image_name(seed, k)}", seed, k) for k in range(recipe.images))
    test = (Picture(f"{TEST_FOLDER}/{image_name(seed, k)}", seed, k) for k in test_indices)
    return sorted(train), sorted(test)


def image_name(seed: int, index: int) -> str:
    """File name of image `index` (0 to 2**28 - 1): seven hexadecimal digits, unique for a seed."""
    start = int(np.random.default_rng((seed, 2)).integers(1 << 28))
    # The factor is odd (2**28 over the golden ratio), so this is a permutation of all names, which looks random.
    return f"{(start + index * 0x9E3779B) % (1 << 28):07x}.jpg"


def visible_masks(layout: Layout, image: np.ndarray) -> list[np.ndarray]:
    """One mask per class of CLASSES, bool (HEIGHT, WIDTH): the union of its boxes without near-black pixels.

    `image` is the decoded JPEG, uint8 (HEIGHT, WIDTH, 3).
    """
    brightness = cv2.transform(image, np.ones((1, 3), np.float32))  # saturates at 255, far above NEAR_BLACK
    has_data = brightness >= NEAR_BLACK
    return [union_mask(layout.boxes.get(name, ())) & has_data for name in CLASSES]


def rows_of(name: str, runs: Iterable[str]) -> str:
    """Lines of the label table for one image, in the order of CLASSES."""
    return "".join(f"{name}_{label},{text}\n" for label, text in zip(CLASSES, runs, strict=True))


def _make(folder: Path, one: Picture) -> str:
    """Write an image unless it exists; returns its rows of train.csv, "" for a test image."""
    path = folder / one.file
    if not path.exists():
        pixels = cv2.cvtColor(picture(one.seed, one.index), cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        publish(path, jpeg.tobytes())
    if one.index >= FIRST_TEST_INDEX:
        return ""
    image = cv2.imread(str(path))
    if image is None or image.shape != (HEIGHT, WIDTH, 3):
        raise DataError(f"{path} is damaged; remove it and run the same command again")
    return rows_of(one.name, map(encode, visible_masks(plan(one.seed, one.index), image)))


def _in_parallel(work: Callable[[Picture], str], jobs: list[Picture], processes: int) -> Iterator[str]:
    """Yield the result of `work` for each job, in order. An error or Ctrl-C drops the jobs that have not started."""
    if processes == 1:
        yield from map(work, jobs)
        return
    pool = ProcessPoolExecutor(processes, Context(), initializer=_begin_worker)
    try:
        yield from pool.map(work, jobs)
    except BrokenProcessPool as error:
        kill_all()  # the pool's SIGTERM is blocked in workers, and one may wait for a lock that the killed one held
        raise CloudsegError(
            "a worker process was killed, perhaps for lack of memory; the same command resumes from here, "
            "with --processes 1 if it happens again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    cv2.setNumThreads(1)
    parent = parent_process()
    if parent:
        # Otherwise the workers of a pool wait without end for the next job if their parent is killed.
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
