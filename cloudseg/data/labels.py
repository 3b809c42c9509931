"""Label tables: the competition's (`train.csv`), what every kind of table has in common, the four classes, and the
bits that stand for them in a stored mask.

A table is read twice: once as a whole for which classes an image has, and row by row for where they are. In between,
only the places of the rows are in memory, not what they hold.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import os
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cloudseg.errors import CloudsegError, UsageError

if TYPE_CHECKING:
    from cloudseg.data import rle

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
"""Bit i of a stored mask (value 1 << i) is class i; a pixel may carry several."""
NO_DATA = 0x80
"""The bit of a stored mask for a pixel without data: the black band between two swaths of the satellite."""
SOURCE_SIZE = (1400, 2100)
"""Height and width, in pixels, of every image and of the masks that the table encodes."""

HEADER = ["Image_Label", "EncodedPixels"]
ABSENT = frozenset(("", "nan", "-1"))

LONGEST_NAME = 255
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """Where a row stands in its table: its line, from 1, and its first byte and length in bytes without line end."""

    line: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What the table says about one image.

    `rows` has one entry per class of CLASSES: the rows that say that it is present (none = absent). `line` is the
    first line of the table about this image.
    """

    name: str
    line: int
    rows: tuple[tuple[Row, ...], ...]

    @property
    def combination(self) -> int:
        """The classes that are present, as the bits of a mask: 0 to 15."""
        return sum(1 << i for i, rows in enumerate(self.rows) if rows)


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


class RowError(ValueError):
    """What the row on `line` says of its class is wrong, for this `reason`."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class RowFault(ValueError):
    """Why a row is left out when the table is read: the fields of its Rejection but for the line."""

    def __init__(self, image: str, field: str, reason: str) -> None:
        super().__init__(image, field, reason)
        self.image = image[:LONGEST_NAME]
        self.field = field
        self.reason = reason

    def on(self, row: Row) -> Rejection:
        return Rejection(row.line, self.image, self.field, self.reason)


@dataclass(frozen=True)
class LabelTable(ABC):
    """A file of labels. Pickles as its path: every process opens the file for itself, when it first wants runs."""

    kind: ClassVar[str]

    path: Path

    def __reduce__(self) -> tuple[type[LabelTable], tuple[Path]]:
        return type(self), (self.path,)

    def read(self) -> tuple[list[ImageLabels], list[Rejection], str]:
        """The images ordered by name, the rows that are wrong in the table's order, and the file's SHA-256 in hex.

        An image of which any row is wrong is not among the images: what its classes are is not known. Raises
        UsageError if the file cannot be read or is not such a table.
        """
        digest = hashlib.sha256()
        images, rejected = self._sort_out(_rows(self.path, digest.update))
        wrong = {rejection.image for rejection in rejected}
        known = sorted((labels for labels in images if labels.name not in wrong), key=lambda labels: labels.name)
        return known, rejected, digest.hexdigest()

    @abstractmethod
    def runs(self, labels: ImageLabels, label: int) -> rle.Runs:
        """The runs of class number `label` on SOURCE_SIZE, read again from the file; none for an absent class.

        `labels` comes from `read`, of this or of an equal object in another process. Raises RowError if the runs are
        wrong and CloudsegError if the file is no longer the one that was read.
        """

    @abstractmethod
    def _sort_out(self, rows: Iterator[tuple[Row, bytes]]) -> tuple[list[ImageLabels], list[Rejection]]:
        """All images, in any order and even those with wrong rows, and what is wrong with rows, in their order."""

    def _read_again(self, row: Row) -> bytes:
        """The bytes of a row, without line end. Raises CloudsegError if no row begins and ends there any more."""
        try:
            # With what stands before and behind it, which shows that rows before it did not change their length.
            before = min(row.offset, 1)
            found = os.pread(self._descriptor, before + row.length + 1, row.offset - before)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}") from error
        line, behind = found[before : before + row.length], found[before + row.length :]
        begins = found[:before] in (b"", b"\n", codecs.BOM_UTF8[-1:])
        if not begins or len(line) < row.length or behind not in (b"", b"\n", b"\r"):
            raise self._changed()
        return line

    def _changed(self) -> CloudsegError:
        return CloudsegError(f"{self.path} changed while it was being read: start again")

    @cached_property
    def _descriptor(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor


class RunTable(LabelTable):
    """The competition's table: one row per image and class, with run-length masks.

    `Image_Label` splits at its last underscore. An empty field, NaN and -1 mean that the class is absent, as does a
    missing row. Every line is a row of its own, even within quotes. `read` does not look into runs.
    """

    kind = "runs"

    def runs(self, labels: ImageLabels, label: int) -> rle.Runs:
        from cloudseg.data import rle  # numpy, which --help and the launcher need not wait for

        if not labels.rows[label]:
            return rle.Runs.none()
        (row,) = labels.rows[label]
        try:
            name, found, text = _parse(self._read_again(row))
        except RowFault:
            raise self._changed() from None
        if (name, found) != (labels.name, CLASSES[label]) or not text:
            raise self._changed()
        try:
            return rle.parse(text, SOURCE_SIZE[0] * SOURCE_SIZE[1])
        except rle.RunsError as error:
            raise RowError(row.line, f"{CLASSES[label]}: {error}") from error

    def _sort_out(self, rows: Iterator[tuple[Row, bytes]]) -> tuple[list[ImageLabels], list[Rejection]]:
        _, header = next(rows, (None, b""))
        if _header(header) != HEADER:
            begins = header[:60].decode(errors="backslashreplace")
            raise UsageError(
                f'{self.path} begins with "{begins}", not with "{",".join(HEADER)}": give the '
                "competition's train.csv with --csv"
            )
        found: dict[str, dict[str, tuple[Row, bool]]] = {}
        rejected: list[Rejection] = []
        for row, line in rows:
            try:
                name, label, text = _parse(line)
                earlier, _ = found.setdefault(name, {}).setdefault(label, (row, bool(text)))
                if earlier is not row:
                    raise RowFault(name, HEADER[0], f"{label} of this image is on line {earlier.line} already")
            except RowFault as fault:
                rejected.append(fault.on(row))
        return [_image(name, entries) for name, entries in found.items()], rejected


def split_row(line: bytes) -> list[str]:
    """The fields of a row of a CSV file, without line end; bytes that are not UTF-8 come out as escapes like \\xff.

    Raises csv.Error for quotes or carriage returns where there must be none.
    """
    text = line.decode(errors="backslashreplace")
    if "\r" in text:
        raise csv.Error("a carriage return stands in the middle of the row")
    if '"' not in text:
        return text.split(",")
    csv.field_size_limit(sys.maxsize)
    return next(csv.reader([text], strict=True))


def name_fault(name: str) -> str:
    """Why an image cannot have this name, or ""."""
    if not name or name in (".", "..") or any(character in name for character in "/\\\0"):
        return "an image is named by a file name without a folder"
    return f"a file name has at most {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else ""


def quoted(text: str) -> str:
    """A text from a table for a message, of which a damaged table may hold megabytes."""
    return f'"{text}"' if len(text) <= 40 else f'"{text[:37]}..."'


def _rows(path: Path, watch: Callable[[bytes], None]) -> Iterator[tuple[Row, bytes]]:
    """Place and bytes of each row, without line end, blank lines skipped; `watch` is shown every byte of the file."""
    offset = 0
    try:
        with path.open("rb", buffering=_READ_BYTES) as handle:
            for number, line in enumerate(handle, 1):
                watch(line)
                content = line.rstrip(b"\r\n")
                mark = len(codecs.BOM_UTF8) if number == 1 and content.startswith(codecs.BOM_UTF8) else 0
                if len(content) > mark:
                    yield Row(number, offset + mark, len(content) - mark), content[mark:]
                offset += len(line)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _header(line: bytes) -> list[str]:
    try:
        return split_row(line)
    except csv.Error:
        return []


def _parse(line: bytes) -> tuple[str, str, str]:
    """Image, class and runs of a row of the competition's table; "" for the runs of an absent class. Raises
    RowFault."""
    try:
        first, *others = split_row(line)
    except csv.Error as error:
        # The image is left out, so its name must be found in spite of what is wrong.
        first = line.partition(b",")[0].decode(errors="backslashreplace").replace('"', "")
        raise RowFault(first.rpartition("_")[0] or first, HEADER[0], f"not a row of a CSV file: {error}") from None
    name, separator, label = first.rpartition("_")
    if not separator:
        raise RowFault(first, HEADER[0], "there is no underscore between image and class")
    if fault := name_fault(name):
        raise RowFault(name, HEADER[0], fault)
    if label not in CLASSES:
        raise RowFault(name, HEADER[0], f"the class {quoted(label)} is none of {', '.join(CLASSES)}")
    if len(others) != 1:
        raise RowFault(name, HEADER[1], f"{1 + len(others)} fields in place of {len(HEADER)}")
    text = others[0].strip()
    return name, label, "" if text.lower() in ABSENT else text


def _image(name: str, entries: dict[str, tuple[Row, bool]]) -> ImageLabels:
    rows = tuple((entries[label][0],) if label in entries and entries[label][1] else () for label in CLASSES)
    return ImageLabels(name, min(row.line for row, _ in entries.values()), rows)
