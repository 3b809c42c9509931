"""The competition's label table (`train.csv`), its four classes, and the bits that stand for them in a stored
mask."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloudseg.errors import UsageError

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
"""Bit i of a stored mask (value 1 << i) is class i; a pixel may carry several."""
NO_DATA = 0x80
"""The bit of a stored mask for a pixel without data: the black band between two swaths of the satellite."""
SOURCE_SIZE = (1400, 2100)
"""Height and width, in pixels, of every image and of the masks that the table encodes."""

HEADER = ["Image_Label", "EncodedPixels"]
ABSENT = frozenset(("", "nan", "-1"))


@dataclass(frozen=True)
class ImageLabels:
    """What the table says about one image.

    `runs` and `lines` have one entry per class of CLASSES: its run-length text, not yet decoded ("" = class
    absent), and the line of the table it stands on (0 = the table has no row for it, which also means
    absent).
    """

    name: str
    runs: tuple[str, ...]
    lines: tuple[int, ...]

    @property
    def line(self) -> int:
        """The first line of the table about this image."""
        return min(line for line in self.lines if line)

    @property
    def combination(self) -> int:
        """The classes that are present, as the bits of a mask: 0 to 15."""
        return sum(1 << i for i, runs in enumerate(self.runs) if runs)


@dataclass(frozen=True)
class Rejection:
    """Why a row of the table or an image is left out: one line of `rejected.csv`. `line` is 0 if no row is
    meant."""

    line: int
    image: str
    field: str
    reason: str

    def __str__(self) -> str:
        where = f"line {self.line}, " if self.line else ""
        return f"{where}{self.image or 'no image'}, {self.field}: {self.reason}"


def read_labels(table: Path) -> tuple[list[ImageLabels], list[Rejection]]:
    """The images of a label table, ordered by name, and the rows that are wrong, in the table's order.

    `Image_Label` splits at its last underscore. An empty field, NaN and -1 mean that the class is absent, as
    does a missing row. An image of which any row is wrong is not among the images: what its classes are is
    not known. Runs are not looked into. Raises UsageError if the file cannot be read or does not begin with
    the competition's header.
    """
    found: dict[str, dict[str, tuple[int, str]]] = {}
    rejected: list[Rejection] = []
    for line, row in _rows(table):
        name, separator, label = row[0].rpartition("_")
        reason = _label_fault(name, separator, label)
        earlier = found.get(name, {}).get(label)
        if reason:
            rejected.append(Rejection(line, name if separator else row[0], HEADER[0], reason))
        elif earlier:
            rejected.append(Rejection(line, name, HEADER[0], f"{label} of this image is on line {earlier[0]} already"))
        elif len(row) != len(HEADER):
            rejected.append(Rejection(line, name, HEADER[1], f"{len(row)} fields in place of {len(HEADER)}"))
        else:
            runs = row[1].strip()
            found.setdefault(name, {})[label] = (line, "" if runs.lower() in ABSENT else runs)
    wrong = {rejection.image for rejection in rejected}
    images = [_image(name, rows) for name, rows in sorted(found.items()) if name not in wrong]
    return images, rejected


def _image(name: str, rows: dict[str, tuple[int, str]]) -> ImageLabels:
    lines, runs = zip(*(rows.get(label, (0, "")) for label in CLASSES), strict=True)
    return ImageLabels(name, runs, lines)


def _rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row below the header; blank lines are skipped."""
    csv.field_size_limit(sys.maxsize)
    try:
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
            reader = csv.reader(handle)
            header = next(reader, [])
            if header != HEADER:
                begins = ",".join(header)[:60]
                raise UsageError(
                    f'{table} begins with "{begins}", not with "{",".join(HEADER)}": give the '
                    "competition's train.csv with --csv"
                )
            yield from ((reader.line_num, row) for row in reader if row)
    except OSError as error:
        raise UsageError(f"{table} cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise UsageError(f"{table} is not a CSV file: line {reader.line_num}: {error}") from error


def _label_fault(name: str, separator: str, label: str) -> str:
    """What is wrong with the first field of a row, or ""."""
    if not separator:
        return "there is no underscore between image and class"
    if not name or name in (".", "..") or any(character in name for character in "/\\\0"):
        return "an image is named by a file name without a folder"
    if label not in CLASSES:
        return f'the class "{label}" is none of {", ".join(CLASSES)}'
    return ""
