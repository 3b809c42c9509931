"""Made-up data sets in the competition's format, and what tests of `preprocess` do with them."""

from __future__ import annotations

import csv
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cloudseg.data import rle
from cloudseg.data.boxes import BoxTable
from cloudseg.data.labels import CLASSES, HEADER, NO_DATA, SOURCE_SIZE, RunTable
from preprocess.settings import Settings
from tests import processes

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("CLOUDSEG_REAL_DATA", ROOT.parent / "shared" / "data"))
HEIGHT, WIDTH = SOURCE_SIZE
SMALL = (64, 96)


# Images


def picture(number: int, band: bool = True) -> np.ndarray:
    """A dark blue sea, bright blobs and a slanted black band, RGB at full size."""
    random = np.random.default_rng(number)
    image = np.full((HEIGHT, WIDTH, 3), (20, 30, 50), np.uint8)
    for _ in range(12):
        centre = (int(random.integers(WIDTH)), int(random.integers(HEIGHT)))
        cv2.circle(image, centre, int(random.integers(30, 200)), (200, 210, 220), -1)
    if band:
        left = 300 + 40 * number
        corners = [(left, 0), (left + 200, 0), (left + 450, HEIGHT), (left + 250, HEIGHT)]
        cv2.fillPoly(image, [np.array(corners, np.int32)], (0, 0, 0))
    return image


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def jpeg_as(image: np.ndarray, mode: str = "RGB", orientation: int | None = None, **options: object) -> bytes:
    """A JPEG of another kind: greyscale ("L"), "CMYK", turned by EXIF, `progressive=True`."""
    content = BytesIO()
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    Image.fromarray(image).convert(mode).save(content, "JPEG", quality=90, **options)
    return content.getvalue()


def claiming(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG with another size in its header."""
    frame = next(place for marker in (b"\xff\xc0", b"\xff\xc2") if (place := data.find(marker)) > 0)
    return data[: frame + 5] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[frame + 9 :]


# Label tables


def box(top: int, bottom: int, left: int, right: int) -> str:
    mask = np.zeros(SOURCE_SIZE, bool)
    mask[top:bottom, left:right] = True
    return rle.encode(mask)


def write_table(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerows([tuple(HEADER), *rows])


def box_of(label: int) -> tuple[int, int, int, int]:
    """Where a class is in every made-up image that has it: top, bottom, left, right."""
    return 100 * label, 100 * label + 700, 250 * label, 250 * label + 900


def labels_of(number: int) -> list[str]:
    """Runs of the four classes of made-up image `number`; which are present follows the number's bits."""
    return [box(*box_of(i)) if number >> i & 1 else "" for i in range(4)]


# Data sets


def write_source(folder: Path, images: int, distinct: int = 4) -> Settings:
    """A made-up data set in the competition's format; images repeat after `distinct`, their names do not."""
    (folder / "images").mkdir(parents=True)
    pictures = [jpeg(picture(number)) for number in range(distinct)]
    rows = []
    for number in range(images):
        name = f"{number:03d}.jpg"
        (folder / "images" / name).write_bytes(pictures[number % distinct])
        rows += [(f"{name}_{label}", runs) for label, runs in zip(CLASSES, labels_of(number), strict=True)]
    write_table(folder / "train.csv", rows)
    return Settings(RunTable(folder / "train.csv"), folder / "images", folder / "out", SMALL, shards=3)


def into(settings: Settings, out: Path) -> Settings:
    return dataclasses.replace(settings, out=out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The command


def command(settings: Settings, *more: str) -> list[str]:
    size = "x".join(map(str, settings.size))
    table = "--boxes" if isinstance(settings.table, BoxTable) else "--csv"
    named = [table, settings.table.path, "--images", settings.images, "--out", settings.out, "--size", size]
    shards = ["--shards", settings.shards] if settings.shards else []
    resize = ["--allow-resize"] if settings.allow_resize else []
    return [sys.executable, "-m", "preprocess", *map(str, [*named, *shards, *resize]), *more]


def run(settings: Settings, *more: str, fresh: bool = False) -> subprocess.CompletedProcess[str]:
    """`fresh` as in `processes`."""
    return processes.run(
        command(settings, *more), cwd=ROOT, capture_output=True, text=True, timeout=60, fresh=fresh,
        libraries=processes.LIGHT,
    )  # fmt: skip


def gone(process: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "this did not come to pass in time"
        time.sleep(0.005)


# Masks, by their definition


def area_average(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How much of each pixel of an image of `size` a mask covers, in units that make a whole pixel H * W of the mask.

    Exact: sums of whole numbers.
    """
    return _covered(_covered(mask, size[0]).T, size[1]).T


def _covered(lines: np.ndarray, parts: int) -> np.ndarray:
    """Cut n lines into so many parts of equal height, each the sum of what it has of the lines, in parts of a line."""
    upto = np.zeros((len(lines) + 1, lines.shape[1]), np.int32 if lines.dtype == bool else np.int64)
    np.cumsum(lines, axis=0, out=upto[1:])
    whole, rest = np.divmod(np.arange(parts + 1) * len(lines), parts)
    begun = lines[np.minimum(whole, len(lines) - 1)]
    return np.diff(parts * upto[whole] + rest[:, None] * begun, axis=0)


def assert_area_average(stored: np.ndarray, masks: list[np.ndarray]) -> int:
    """Compare mask bits with the average of a full mask per class, off the band's edge; gives the pixels of classes."""
    away = cv2.erode((stored & NO_DATA == 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    classes = 0
    for i, mask in enumerate(masks):
        expected = 2 * area_average(mask, stored.shape) >= mask.size
        np.testing.assert_array_equal(((stored >> i) & 1)[away], expected[away])
        classes += int(expected[away].sum())
    return classes
