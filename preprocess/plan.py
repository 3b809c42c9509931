"""Plans the shard and the fold of each image from the label table and the image folder, so that all tasks of a job
array compute the same plan."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudseg.core.errors import UsageError
from cloudseg.data.labels import ImageLabels, Rejection
from cloudseg.data.shards import FORMAT
from preprocess.groups import NAMES, Groups, find_groups
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
    images; `groups` are images that are in one fold, if the settings ask for groups."""

    fingerprint: dict[str, Any]
    shards: tuple[tuple[PlannedImage, ...], ...]
    rejected: tuple[Rejection, ...]
    groups: Groups | None = None


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
    groups = find_groups([labels.name for labels in images], settings.groups) if settings.groups else None
    if groups:
        if settings.folds > len(groups.members):
            raise UsageError(
                f"--folds {settings.folds}: the images form only {len(groups.members)} groups, and a group is in one "
                f"fold; give at most --folds {len(groups.members)}, or leave out --groups"
            )
        fold = assign_folds_to_groups(images, groups, settings.folds, settings.seed)
    else:
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
            **(_groups_entries(settings, groups) if groups else {}),
        },
        shards=tuple(tuple(ordered[i::shards]) for i in range(shards)),
        rejected=tuple(rejected),
        groups=groups,
    )


def _groups_entries(settings: Settings, groups: Groups) -> dict[str, str]:
    """Entries of the fingerprint; a data set without groups has none, as before there were groups."""
    return {"groups": NAMES if settings.groups == NAMES else "table", "groups_sha256": groups.digest}


def assign_folds(images: list[ImageLabels], folds: int, seed: int) -> dict[str, int]:
    """Assign a fold to each image, by name, stratified by the combination of classes.

    Folds differ by at most one image, in total and for each combination.
    """
    ordered = sorted(images, key=lambda labels: (labels.combination, _draw(seed, labels.name)))
    return {labels.name: place % folds for place, labels in enumerate(ordered)}


def assign_folds_to_groups(images: list[ImageLabels], groups: Groups, folds: int, seed: int) -> dict[str, int]:
    """Assign a fold to each image, by name, so that a group is in one fold and folds have equal numbers of images of
    each combination of classes, as far as groups allow.

    The largest groups come first. Each goes to the fold in which the sum of the squared numbers of images, by fold and
    combination, grows least; of equal ones to the smallest fold. Groups of one image, which come last, even out the
    numbers. With such groups alone, folds differ by at most one image, in total and for each combination.
    """
    combination = {labels.name: labels.combination for labels in images}

    def order(group: tuple[str, ...]) -> tuple[int, list[int], bytes]:
        return -len(group), sorted(combination[name] for name in group), _draw(seed, group[0])

    numbers = [Counter[int]() for _ in range(folds)]
    assigned: dict[str, int] = {}
    for group in sorted(groups.members, key=order):
        own = Counter(combination[name] for name in group)
        growth = [sum(count * (2 * of_fold[bits] + count) for bits, count in own.items()) for of_fold in numbers]
        fold = min(range(folds), key=lambda i: (growth[i], numbers[i].total(), i))
        numbers[fold] += own
        assigned |= dict.fromkeys(group, fold)
    return assigned


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
