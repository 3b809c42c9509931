"""Folder of a generated data set: its files, and checks that no other file is overwritten."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.core.errors import UsageError

RECORD = "demo.json"
"""File with the arguments of the data set; written last, so it exists only if the data set is complete."""
TABLE = "train.csv"
SUBMISSION = "sample_submission.csv"
TRAIN_FOLDER = "train_images"
TEST_FOLDER = "test_images"


def publish(path: Path, content: bytes) -> None:
    """Write a file atomically. Raises UsageError if it exists with other content."""
    if path.exists():
        if path.read_bytes() != content:
            raise UsageError(f"{path} has other content; move it away, or give a new folder with --out")
        return
    atomic.write(path, content)


def holds(folder: Path, record: dict[str, int], images: set[str]) -> bool:
    """Whether a folder holds the complete data set of `record`, with `images` as paths relative to the folder.

    False if the folder is new, empty or holds a part of the data set. Raises UsageError if it holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder with --out")
    if (folder / RECORD).exists():
        _compare(folder / RECORD, record)
        return all((folder / file).exists() for file in (TABLE, SUBMISSION, *images))
    foreign = next((file for file in _contents(folder) if file not in images), None)
    if foreign:
        raise UsageError(f"{folder} holds another data set ({foreign}); give a new folder with --out")
    return False


def _compare(path: Path, record: dict[str, int]) -> None:
    try:
        found = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} is damaged; give a new folder with --out") from error
    different = [f"{key} {found.get(key)}, not {value}" for key, value in record.items() if found.get(key) != value]
    if different:
        raise UsageError(
            f"{path.parent} holds a demo data set with other settings ({'; '.join(different)}); "
            "give those settings, or a new folder with --out"
        )


def _contents(folder: Path) -> list[str]:
    """The images in a folder and the first image of each of its tables, as paths relative to the folder."""
    found = []
    for images, table in ((TRAIN_FOLDER, TABLE), (TEST_FOLDER, SUBMISSION)):
        if (folder / images).is_dir():
            found += sorted(f"{images}/{one.name}" for one in (folder / images).iterdir() if one.name[0] != ".")
        if (folder / table).exists():
            found += [f"{images}/{name}" for name in _first_image(folder / table)]
    return found


def _first_image(table: Path) -> list[str]:
    """The image of a label table's first row, in a list; an empty list for a table without rows."""
    with table.open(errors="replace") as lines:
        return [row.partition(",")[0].rpartition("_")[0] for row in islice(lines, 1, 2)]
