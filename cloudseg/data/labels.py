"""Classes, bits of a stored mask, and label tables: the base class and the competition's `train.csv`.

A table is read twice: once as a whole, to find the classes of each image, and later row by row, to get the runs. In
between only the positions of the rows are in memory, not their content.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.data import csv_rows, table_file
from cloudseg.data.csv_rows import Row, printable, quoted, split_row

if TYPE_CHECKING:
    from cloudseg.data import rle

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
"""Bit i of a stored mask (value 1 << i) is class i; a pixel may have several classes."""
NO_DATA = 0x80
"""Bit of a stored mask for a no-data pixel, as in the black band between two swaths of the satellite."""
SOURCE_SIZE = (1400, 2100)
"""Height and width, in pixels, of every published image and of the masks in the table."""

HEADER = ["Image_Label", "EncodedPixels"]
CELLS = (32_767, 32_759, 65_535)
"""Maximum number of characters of a spreadsheet cell, to which longer fields are cut: Excel ("specifications and
limits"), Excel when it opens a CSV file (reported for json2csv), LibreOffice (lcl_appendLineData in impex.cxx)."""
ABSENT = frozenset(("", "nan", "-1"))

LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """The rows of one image.

    `rows` has one entry per class of CLASSES: the rows that mark it as present; an empty entry means absent. `line` is
    the first line of the table about this image.
    """

    name: str
    line: int
    rows: tuple[tuple[Row, ...], ...]

    @property
    def combination(self) -> int:
        """The present classes as bits, 0 to 15."""
        return sum(1 << i for i, rows in enumerate(self.rows) if rows)


@dataclass(frozen=True)
class Rejection:
    """Why a row of the table or an image is rejected: a line of `rejected.csv`. `line` is 0 if no row is the cause."""

    line: int
    image: str
    field: str
    reason: str

    def __str__(self) -> str:
        where = f"line {self.line}, " if self.line else ""
        return printable(f"{where}{self.image or 'no image'}, {self.field}: {self.reason}")


class RowError(ValueError):
    """The runs of the row on `line` are not valid."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class RowFault(ValueError):
    """A row is rejected when the table is read: the fields of its Rejection except the line."""

    def __init__(self, image: str, field: str, reason: str) -> None:
        super().__init__(image, field, reason)
        self.image = image[:LONGEST_NAME]
        self.field = field
        self.reason = reason

    def on(self, row: Row) -> Rejection:
        return Rejection(row.line, self.image, self.field, self.reason)


@dataclass(frozen=True)
class LabelTable(ABC):
    """A label table, plain or in a gzip or zip file.

    `size` is the height and width of its images; with None it is SOURCE_SIZE, and `check_size` checks that.

    Pickles as its path: every process opens the file when it first reads runs. A packed table is unpacked once, by the
    first process, which must live as long as the others.
    """

    content_of: ClassVar[str]
    """Kind of its rows: "runs" or "boxes"."""

    path: Path
    size: tuple[int, int] | None = None

    def __reduce__(self) -> tuple[type[LabelTable], tuple[Path, tuple[int, int] | None], dict[str, Path] | None]:
        plain = self.__dict__.get("_plain", self.path)
        return type(self), (self.path, self.size), {"_plain": plain} if plain != self.path else None

    @property
    def kind(self) -> str:
        """How its bytes are interpreted, for the fingerprint of a data set."""
        height, width = self.size or SOURCE_SIZE
        return self.content_of + (f" of {height}x{width}" if (height, width) != SOURCE_SIZE else "")

    def read(self) -> tuple[list[ImageLabels], list[Rejection], str]:
        """Read the table: images in order of name, rejected rows in order, and the SHA-256, in hex, of the plain file.

        An image with a rejected row is not among the images, as its classes are unknown. Raises UsageError if the file
        cannot be read or is not such a table.
        """
        digest = hashlib.sha256()
        try:
            with self._plain.open("rb", buffering=1 << 20) as file:
                images, rejected = self._parse_rows(csv_rows.rows(file, digest.update))
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}") from error
        wrong = {rejection.image for rejection in rejected}
        known = sorted((labels for labels in images if labels.name not in wrong), key=lambda labels: labels.name)
        return known, rejected, digest.hexdigest()

    @abstractmethod
    def runs(self, labels: ImageLabels, label: int) -> rle.Runs:
        """Read the runs of class number `label` from the file, scaled to SOURCE_SIZE; none for an absent class.

        `labels` comes from `read` of this or of an equal object in another process. Raises RowError if the runs are not
        valid, and CloudsegError if the file has changed since `read`.
        """

    @abstractmethod
    def _parse_rows(self, rows: Iterator[tuple[Row, bytes]]) -> tuple[list[ImageLabels], list[Rejection]]:
        """All images, in any order and including those with rejected rows, and the rejections in order of rows."""

    def check_size(self, images: list[ImageLabels], rejected: list[Rejection]) -> None:
        """Raises UsageError if `size` is not given and a sample of the labels seems to be of another size than
        SOURCE_SIZE, or not to be such a table."""
        problem = "" if self.size else self._size_problem(images, rejected)
        if problem:
            raise UsageError(
                f"{self.path}: {problem}. Give the table of the images as published; if this is the right table, give "
                f"the size of the images of its {self.content_of}: --label-size 350x525 (of a submission; they are "
                "scaled up), --label-size 1400x2100 (they are not scaled)"
            )

    @abstractmethod
    def _size_problem(self, images: list[ImageLabels], rejected: list[Rejection]) -> str:
        """Why the labels seem not to be of SOURCE_SIZE; "" if they are."""

    def _read_again(self, row: Row) -> bytes:
        """The bytes of a row, without line end. Raises CloudsegError if no row starts and ends there any more."""
        try:
            # The bytes before and after it show whether earlier rows have changed their length.
            before = min(row.offset, 1)
            content = os.pread(self._descriptor, before + row.length + 1, row.offset - before)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}") from error
        line, after = content[before : before + row.length], content[before + row.length :]
        starts = content[:before] in (b"", b"\n", codecs.BOM_UTF8[-1:])
        if not starts or len(line) < row.length or after not in (b"", b"\n", b"\r"):
            raise self._changed()
        return line

    def _changed(self) -> CloudsegError:
        return CloudsegError(f"{self.path} changed while it was read: run the command again")

    @cached_property
    def _unpacked(self) -> BinaryIO | None:
        return table_file.unpacked(self.path)

    @cached_property
    def _plain(self) -> Path:
        """Path of the table's plain bytes, for every process of this machine."""
        return Path(f"/proc/{os.getpid()}/fd/{self._unpacked.fileno()}") if self._unpacked else self.path

    @cached_property
    def _descriptor(self) -> int:
        descriptor = os.open(self._plain, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor


class RunTable(LabelTable):
    """The competition's table: one row per image and class, with run-length masks.

    `Image_Label` is split at its last underscore. An empty field, NaN, -1 and a missing row mean that the class is
    absent. Every line is a row, also within quotes. `read` does not check the runs.
    """

    content_of = "runs"

    def runs(self, labels: ImageLabels, label: int) -> rle.Runs:
        from cloudseg.data import rle  # imports numpy, which would delay --help and the launcher

        if not labels.rows[label]:
            return rle.Runs.none()
        (row,) = labels.rows[label]
        try:
            name, found, text, _ = parse(self._read_again(row))
        except RowFault:
            raise self._changed() from None
        if (name, found) != (labels.name, CLASSES[label]) or not text:
            raise self._changed()
        size = self.size or SOURCE_SIZE
        try:
            return rle.resized(rle.parse(text, size[0] * size[1]), size, SOURCE_SIZE)
        except rle.RunsError as error:
            raise RowError(row.line, f"{CLASSES[label]}: {error}") from error

    def _size_problem(self, images: list[ImageLabels], rejected: list[Rejection]) -> str:
        from cloudseg.data import label_size

        present = [(labels, i) for labels in images for i, rows in enumerate(labels.rows) if rows]
        masks, errors = [], []
        for labels, i in present[:: max(len(present) // label_size.SAMPLE_SIZE, 1)]:
            try:
                masks.append(self.runs(labels, i))
            except RowError as error:
                errors.append(error)
        if len(errors) > max(len(masks), label_size.MIN_EVIDENCE):
            checked = len(masks) + len(errors)
            return f"{len(errors)} of {checked} masks are not valid, first on line {errors[0].line}: {errors[0]}"
        return label_size.size_problem(masks)

    def _parse_rows(self, rows: Iterator[tuple[Row, bytes]]) -> tuple[list[ImageLabels], list[Rejection]]:
        _, header = next(rows, (None, b""))
        check_header(header, self.path, "give the competition's train.csv with --csv")
        found: dict[str, dict[str, tuple[Row, bool]]] = {}
        rejected: list[Rejection] = []
        longest = 0
        at_cell_limit: list[tuple[Row, str, int]] = []
        for row, line in rows:
            try:
                name, label, text, length = parse(line)
                longest = max(longest, length)
                if cut_lengths(length):
                    at_cell_limit.append((row, name, length))
                earlier, _ = found.setdefault(name, {}).setdefault(label, (row, bool(text)))
                if earlier is not row:
                    raise RowFault(name, HEADER[0], f"{label} of this image is on line {earlier.line} already")
            except RowFault as fault:
                rejected.append(fault.on(row))
        rejected += [
            RowFault(name, HEADER[1], cut_reason(length)).on(row)
            for row, name, length in at_cell_limit
            if length in cut_lengths(longest)
        ]
        rejected.sort(key=lambda rejection: rejection.line)
        return [_image(name, entries) for name, entries in found.items()], rejected


def name_problem(name: str) -> str:
    """Why `name` is not a valid name of an image; "" if it is."""
    if not name or name in (".", "..") or any(character in name for character in "/\\\0"):
        return "an image is named by a file name without a folder"
    return f"a file name has at most {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else ""


def check_header(line: bytes, path: Path, otherwise: str) -> None:
    """Raises UsageError unless the first row of the table is HEADER.

    The message says what the table seems to be and what to do, or ends with `otherwise`.
    """
    try:
        if split_row(line) == HEADER:
            return
    except csv.Error:
        pass
    if not line:
        raise UsageError(f"{path} is empty, without even the header {','.join(HEADER)}: {otherwise}")
    begins = printable(line[:60].decode(errors="backslashreplace"))
    advice = _header_problem(line) or otherwise
    raise UsageError(f'{path} begins with "{begins}", not with "{",".join(HEADER)}": {advice}')


def _header_problem(header: bytes) -> str:
    """What a table with another header seems to be, and what to do; "" if unknown."""
    text, names = header.decode(errors="backslashreplace").replace('"', ""), [name.lower() for name in HEADER]
    if "\r" in text:
        return "its lines end with a carriage return only; write it with line feeds"
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if set(names) <= {field.strip().lower() for field in text.split(separator)}:
            return f"its fields are separated by {word}; write it with commas"
    fields = [field.strip() for field in text.split(",")]
    found = [field.lower() for field in fields]
    if found == names:
        return "write the header exactly like this"
    if found == names[::-1]:
        return "its columns are swapped; put Image_Label first"
    if set(names) <= set(found):
        return f"it has {len(fields)} columns; keep only these two (in pandas: to_csv(FILE, index=False))"
    if len(fields) == 7 and fields[-1] in (*CLASSES, "class", ""):
        return "this is a table of boxes; give it with --boxes"
    if len(fields) > 1 and fields[1].rpartition("_")[2] in CLASSES:
        return "its rows and columns are exchanged; write one row per image and class"
    if fields[0].rpartition("_")[2] in CLASSES:
        return "it has no header; add that line at the top"
    return ""


def cut_lengths(longest: int) -> frozenset[int]:
    """Lengths of the fields that a spreadsheet has cut, if the table's longest field has `longest` characters; empty if
    that is no spreadsheet's limit.

    A field may be one character shorter, as a blank at its end may be removed later.
    """
    return next((lengths for cut in CELLS if longest in (lengths := frozenset((cut - 1, cut)))), frozenset())


def cut_reason(length: int) -> str:
    """The reason of a Rejection for a field of one of the `cut_lengths`."""
    return f"cut by a spreadsheet: it has {length:,} characters, and no field of the table has more"


def parse(line: bytes) -> tuple[str, str, str, int]:
    """Parse a row of the competition's table into image, class, runs ("" for an absent class), and the number of
    characters of the second field. Raises RowFault for a row that is not valid."""
    try:
        first, *others = split_row(line)
    except csv.Error as error:
        # The image is rejected, so its name is needed even if the row is not valid CSV.
        first = line.partition(b",")[0].decode(errors="backslashreplace").replace('"', "")
        raise RowFault(first.rpartition("_")[0] or first, HEADER[0], f"not a row of a CSV file: {error}") from None
    name, separator, label = first.rpartition("_")
    if not separator:
        raise RowFault(first, HEADER[0], "there is no underscore between image and class")
    if problem := name_problem(name):
        raise RowFault(name, HEADER[0], problem)
    if label not in CLASSES:
        raise RowFault(name, HEADER[0], f"the class {quoted(label)} is none of {', '.join(CLASSES)}")
    if len(others) != 1:
        raise RowFault(name, HEADER[1], f"{1 + len(others)} fields instead of {len(HEADER)}")
    text = others[0].strip()
    return name, label, "" if text.lower() in ABSENT else text, len(others[0])


def _image(name: str, entries: dict[str, tuple[Row, bool]]) -> ImageLabels:
    rows = tuple((entries[label][0],) if label in entries and entries[label][1] else () for label in CLASSES)
    return ImageLabels(name, min(row.line for row, _ in entries.values()), rows)
