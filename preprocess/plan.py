"""Plans the shard and the fold of each image from the label table and the image folder, so that all tasks of a job
array compute the same plan."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudseg.core.errors import UsageError
from cloudseg.data.labels import ImageLabels, Rejection
from cloudseg.data.shards import FORMAT
from preprocess.settings import Settings

SHARD_BYTES = 64 << 20
"""Default size of a shard, which gives about fifty shards of the competition's images at 320x480."""
MAX_SHARD_BYTES = 256 << 20
"""Maximum size of a shard; a process holds two or three times as much in memory."""
SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class PlannedImage:
    """An image from which a sample is to be made."""

    labels: ImageLabels
    path: Path
    fold: int


@dataclass(frozen=True)
class Plan:
    """`shards[i]` are the images of shard i in order; `rejected` are rows and images that are rejected without opening
    images."""

    fingerprint: dict[str, Any]
    shards: tuple[tuple[PlannedImage, ...], ...]
    rejected: tuple[Rejection, ...]


def make_plan(settings: Settings) -> Plan:
    """Read table and folder, and assign images to shards and folds.

    Raises UsageError if all images are rejected, or if there are fewer images than shards or folds.
    """
    settings.check()
    table, rejected, labels_sha256 = settings.table.read()
    settings.table.check_size(table, rejected)
    files = _jpegs(settings.images)
    named = {labels.name for labels in table} | {rejection.image for rejection in rejected}
    rejected += [
        Rejection(labels.line, labels.name, "image", "there is no such JPEG in the image folder")
        for labels in table
        if labels.name not in files
    ]
    rejected += [
        Rejection(0, name, "image", "the label table has no row for it") for name in files if name not in named
    ]
    images = [labels for labels in table if labels.name in files]
    if not images:
        example = f", for example {rejected[0]}" if rejected else ""
        raise UsageError(
            f"no image of {settings.images} has labels in {settings.table.path}: "
            f"{len(rejected)} rejected{example}. Check --images and --csv (or --boxes)"
        )
    shards = settings.shards or _default_shards(len(images), settings.size)
    if len(images) < 2:
        raise UsageError(
            f"only {images[0].name} has labels and a JPEG: at least 2 images are needed, one of them for validation"
        )
    numbers = {"--shards": shards, "--folds": settings.folds}
    if too_many := [flag for flag, number in numbers.items() if number > len(images)]:
        given = ", ".join(f"{flag} {numbers[flag]}" for flag in too_many)
        most = " ".join(f"{flag} {len(images)}" for flag in too_many)
        raise UsageError(f"{given}: there are only {len(images)} images, give at most {most}")
    if _stored_bytes(len(images), settings.size) > shards * MAX_SHARD_BYTES:
        least = -(-_stored_bytes(len(images), settings.size) // MAX_SHARD_BYTES)
        raise UsageError(
            f"--shards {shards}: a shard is made in memory and should stay small, give at least --shards {least}"
        )
    fold = assign_folds(images, settings.folds, settings.seed)
    ordered = [
        PlannedImage(labels, settings.images / labels.name, fold[labels.name])
        for labels in sorted(images, key=lambda labels: _draw(settings.seed, labels.name))
    ]
    return Plan(
        fingerprint={
            "format": FORMAT,
            "labels": settings.table.kind,
            "labels_sha256": labels_sha256,
            "images_sha256": hashlib.sha256(repr(sorted(files.items())).encode(errors="surrogateescape")).hexdigest(),
            "size": f"{settings.size[0]}x{settings.size[1]}",
            "shards": shards,
            "folds": settings.folds,
            "seed": settings.seed,
            "allow_resize": settings.allow_resize,
        },
        shards=tuple(tuple(ordered[i::shards]) for i in range(shards)),
        rejected=tuple(rejected),
    )


def assign_folds(images: list[ImageLabels], folds: int, seed: int) -> dict[str, int]:
    """Assign a fold to each image, by name, stratified by the combination of classes.

    Folds differ by at most one image, in total and for each combination.
    """
    ordered = sorted(images, key=lambda labels: (labels.combination, _draw(seed, labels.name)))
    return {labels.name: place % folds for place, labels in enumerate(ordered)}


def _draw(seed: int, name: str) -> bytes:
    """Sort key that shuffles names by seed, independent of the versions of Python and packages."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _default_shards(images: int, size: tuple[int, int]) -> int:
    return min(images, -(-_stored_bytes(images, size) // SHARD_BYTES))


def _stored_bytes(images: int, size: tuple[int, int]) -> int:
    return images * size[0] * size[1] * 4


def _jpegs(folder: Path) -> dict[str, int]:
    """Names of the JPEGs in a folder and their sizes in bytes, ordered by name."""
    try:
        with os.scandir(folder) as entries:
            return dict(
                sorted(
                    (entry.name, entry.stat().st_size)
                    for entry in entries
                    if entry.name.lower().endswith(SUFFIXES)
                    and not entry.name.startswith(".")  # for example macOS's ._a.jpg
                    and entry.is_file()
                )
            )
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from error
