"""Input images of a benchmark, in the competition's layout, and their shards."""

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
"""Maximum number of generated images; further samples are the same images under other names."""
SHARD_SAMPLES = 109
"""Samples per shard: about 64 MiB at 320x480, as in a full data set."""


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
        rows: dict[str, list[tuple[str, str]]] = {}
        with self.table.open(newline="") as handle:
            for fields in itertools.islice(csv.reader(handle), 1, None):
                name, _, label = fields[0].rpartition("_")
                rows.setdefault(name, []).append((label, fields[1]))
        return rows


MIN_TRAINING_IMAGES = 48


def take(data: Path | None, count: int, temporary: Path, notes: list[str]) -> Source:
    """Make a folder with links to `count` images (0 for all) of `data`, or of generated images, and their table.

    If there are fewer images, they are repeated under other names.
    """
    whole = Source(data) if data else _generated(min(count or DISTINCT, DISTINCT), temporary / "generated")
    if not whole.table.is_file() or not whole.images.is_dir():
        raise UsageError(f"{whole.folder} does not hold train.csv and train_images/: give the competition's folder")
    rows = whole.rows()
    labelled = [path for path in whole.paths() if path.name in rows]
    if not labelled:
        raise UsageError(f"{whole.table} has no row for any image of {whole.images}")
    out = Source(temporary / "images")
    out.images.mkdir(parents=True)
    with out.table.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("Image_Label", "EncodedPixels"))
        for i, path in enumerate(itertools.islice(itertools.cycle(labelled), count or len(labelled))):
            name = f"{i:05d}-{path.name}"
            (out.images / name).symlink_to(path.resolve())
            writer.writerows((f"{name}_{label}", runs) for label, runs in rows[path.name])
    count = count or len(labelled)
    origin = f"from {data}" if data else "generated"
    notes.append(f"{count} images, {min(len(labelled), count)} of them distinct, {origin}")
    return out


def make_shards(source: Source, size: str, workers: int, out: Path) -> Path:
    """Make shards with `python -m preprocess`."""
    shards = -(-len(source.paths()) // SHARD_SAMPLES)
    say(f"shards of {len(source.paths())} images: python -m preprocess")
    _quietly([*preprocess_command(source, size, workers, out), "--shards", str(shards)])
    return out


def preprocess_command(source: Source, size: str, workers: int, out: Path) -> list[str]:
    places = ["--csv", str(source.table), "--images", str(source.images), "--out", str(out)]
    return [sys.executable, "-m", "preprocess", *places, "--size", size, "--workers", str(workers)]


def _quietly(command: list[str]) -> None:
    """Run a command. Raises CloudsegError with its error output if it fails."""
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise CloudsegError(f"{' '.join(command)} failed:\n{process.stderr.strip()}")


def _generated(count: int, out: Path) -> Source:
    say(f"{count} generated images: python -m cloudseg.demo")
    command = [sys.executable, "-m", "cloudseg.demo", "--out", str(out), "--images", str(count), "--test-images", "0"]
    _quietly(command)
    return Source(out)


def shards_to_train_with(data: Path | None, size: str, ranks: int, batch: int, folder: Path, notes: list[str]) -> Path:
    """Make shards in `folder` with at least two global batches."""
    images = take(data, max(MIN_TRAINING_IMAGES, 2 * batch * ranks), folder, notes)
    return make_shards(images, size, 2, folder / "shards")
