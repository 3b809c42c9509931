"""The folder of a generated data set: what is in it, and how files get there without harm to what was there."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.core.errors import UsageError

RECORD = "demo.json"
"""What the data set was made from; written last, so it is there only if everything else is."""
TABLE = "train.csv"
SUBMISSION = "sample_submission.csv"
TRAIN_FOLDER = "train_images"
TEST_FOLDER = "test_images"


def publish(path: Path, content: bytes) -> None:
    """A file that is there whole or not at all. Raises UsageError rather than replace one of other content."""
    if path.exists():
        if path.read_bytes() != content:
            raise UsageError(f"{path} has other content; move it away, or give a new folder with --out")
        return
    atomic.write(path, content)


def holds(folder: Path, record: dict[str, int], images: set[str]) -> bool:
    """Whether a folder has the whole data set of a record and these images, given relative to it.

    False if it is new, empty or has a part of that data set. Raises UsageError if it holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder with --out")
    if (folder / RECORD).exists():
        _compare(folder / RECORD, record)
        return all((folder / file).exists() for file in (TABLE, SUBMISSION, *images))
    stranger = next((file for file in _contents(folder) if file not in images), None)
    if stranger:
        raise UsageError(f"{folder} holds another data set ({stranger}); give a new folder with --out")
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
    """The images in a folder, and those that its tables begin with, as paths relative to it."""
    found = []
    for images, table in ((TRAIN_FOLDER, TABLE), (TEST_FOLDER, SUBMISSION)):
        if (folder / images).is_dir():
            found += sorted(f"{images}/{one.name}" for one in (folder / images).iterdir() if one.name[0] != ".")
        if (folder / table).exists():
            found += [f"{images}/{name}" for name in _first_image(folder / table)]
    return found


def _first_image(table: Path) -> list[str]:
    """The image of a label table's first row, in a list that is empty for a table without rows."""
    with table.open(errors="replace") as lines:
        return [row.partition(",")[0].rpartition("_")[0] for row in islice(lines, 1, 2)]
