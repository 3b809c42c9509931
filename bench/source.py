"""The images that a benchmark works on, in the competition's layout, and their shards."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.contender import say
from cloudseg.core.errors import CloudsegError, UsageError

DISTINCT = 64
"""Generated images at most; more samples than that are the same images under other names."""
SHARD_SAMPLES = 109
"""About 64 MiB at 320x480, as in a full data set."""


@dataclass(frozen=True)
class Source:
    """A folder with train.csv and train_images/."""

    folder: Path

    @property
    def table(self) -> Path:
        return self.folder / "train.csv"

    @property
    def images(self) -> Path:
        return self.folder / "train_images"

    def paths(self) -> list[Path]:
        return sorted(self.images.iterdir())

    def rows(self) -> dict[str, list[tuple[str, str]]]:
        """Image name -> (class, runs) of each row of the table about it."""
        csv.field_size_limit(sys.maxsize)
        found: dict[str, list[tuple[str, str]]] = {}
        with self.table.open(newline="") as handle:
            for fields in itertools.islice(csv.reader(handle), 1, None):
                name, _, label = fields[0].rpartition("_")
                found.setdefault(name, []).append((label, fields[1]))
        return found


TO_TRAIN_WITH = 48
"""Images, at least."""


def take(data: Path | None, count: int, temporary: Path, notes: list[str]) -> Source:
    """`count` images (0: all) as a folder of links with a table of their own, from `data` or generated.

    If there are fewer they are used again under other names.
    """
    whole = Source(data) if data else _generated(min(count or DISTINCT, DISTINCT), temporary / "generated")
    if not whole.table.is_file() or not whole.images.is_dir():
        raise UsageError(f"{whole.folder} does not hold train.csv and train_images/: give the competition's folder")
    rows = whole.rows()
    there = [path for path in whole.paths() if path.name in rows]
    if not there:
        raise UsageError(f"{whole.table} has no row for any image of {whole.images}")
    out = Source(temporary / "images")
    out.images.mkdir(parents=True)
    with out.table.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("Image_Label", "EncodedPixels"))
        for i, path in enumerate(itertools.islice(itertools.cycle(there), count or len(there))):
            name = f"{i:05d}-{path.name}"
            (out.images / name).symlink_to(path.resolve())
            writer.writerows((f"{name}_{label}", runs) for label, runs in rows[path.name])
    count = count or len(there)
    origin = f"from {data}" if data else "generated"
    notes.append(f"{count} images, {min(len(there), count)} of them distinct, {origin}")
    return out


def make_shards(source: Source, size: str, workers: int, out: Path) -> Path:
    """The product's own command."""
    shards = -(-len(source.paths()) // SHARD_SAMPLES)
    say(f"shards of {len(source.paths())} images: python -m preprocess")
    _quietly([*preprocess_command(source, size, workers, out), "--shards", str(shards)])
    return out


def preprocess_command(source: Source, size: str, workers: int, out: Path) -> list[str]:
    places = ["--csv", str(source.table), "--images", str(source.images), "--out", str(out)]
    return [sys.executable, "-m", "preprocess", *places, "--size", size, "--workers", str(workers)]


def _quietly(command: list[str]) -> None:
    """Raises CloudsegError, with the command's own words, if it fails."""
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise CloudsegError(f"{' '.join(command)} failed:\n{process.stderr.strip()}")


def _generated(count: int, out: Path) -> Source:
    say(f"{count} generated images: python -m cloudseg.demo")
    command = [sys.executable, "-m", "cloudseg.demo", "--out", str(out), "--images", str(count), "--test-images", "0"]
    _quietly(command)
    return Source(out)


def shards_to_train_with(data: Path | None, size: str, ranks: int, batch: int, folder: Path, notes: list[str]) -> Path:
    """Shards of some images, two global batches at least, in `folder`."""
    images = take(data, max(TO_TRAIN_WITH, 2 * batch * ranks), folder, notes)
    return make_shards(images, size, 2, folder / "shards")
