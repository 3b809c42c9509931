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
"""Bit i of a stored mask (value 1 << i) is class i; a pixel may carry several."""
NO_DATA = 0x80
"""The bit of a stored mask for a pixel without data: the black band between two swaths of the satellite."""
SOURCE_SIZE = (1400, 2100)
"""Height and width, in pixels, of every image and of the masks that the table encodes."""

HEADER = ["Image_Label", "EncodedPixels"]
CELLS = (32_767, 32_759, 65_535)
"""The characters of a cell to which spreadsheets cut a field: Excel ("specifications and limits"), Excel where it opens
a CSV file (as reported in json2csv, issue 586), LibreOffice (lcl_appendLineData of its impex.cxx)."""
ABSENT = frozenset(("", "nan", "-1"))

LONGEST_NAME = 255


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
        return printable(f"{where}{self.image or 'no image'}, {self.field}: {self.reason}")


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
    """A file of labels, or a gzip or zip file of one; `size` is the height and width of the images that it is about,
    None for SOURCE_SIZE unless the labels speak against it.

    Pickles as its path: every process opens the file for itself, when it first wants runs. A packed table is unpacked
    once, by the first process, which the others must not outlive.
    """

    content_of: ClassVar[str]
    """What it holds: runs or boxes."""

    path: Path
    size: tuple[int, int] | None = None

    def __reduce__(self) -> tuple[type[LabelTable], tuple[Path, tuple[int, int] | None], dict[str, Path] | None]:
        plain = self.__dict__.get("_plain", self.path)
        return type(self), (self.path, self.size), {"_plain": plain} if plain != self.path else None

    @property
    def kind(self) -> str:
        """What decides how its bytes are read, for the fingerprint of a data set."""
        height, width = self.size or SOURCE_SIZE
        return self.content_of + (f" of {height}x{width}" if (height, width) != SOURCE_SIZE else "")

    def read(self) -> tuple[list[ImageLabels], list[Rejection], str]:
        """The images ordered by name, the rows that are wrong in the table's order, and the SHA-256 in hex of the file,
        unpacked.

        An image of which any row is wrong is not among the images: what its classes are is not known. Raises
        UsageError if the file cannot be read or is not such a table.
        """
        digest = hashlib.sha256()
        try:
            with self._plain.open("rb", buffering=1 << 20) as file:
                images, rejected = self._sort_out(csv_rows.rows(file, digest.update))
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}") from error
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

    def check_size(self, images: list[ImageLabels], rejected: list[Rejection]) -> None:
        """Raises UsageError if what was read seems to be of another size than SOURCE_SIZE, or no such table, and `size`
        is not given. Looks at some of the labels."""
        doubt = "" if self.size else self._doubt(images, rejected)
        if doubt:
            raise UsageError(
                f"{self.path}: {doubt}. Give the table of the images as published; if this is the one, say for images "
                f"of which size its {self.content_of} are: --label-size 350x525 (of a submission: they are scaled up), "
                "--label-size 1400x2100 (they are taken as they are)"
            )

    @abstractmethod
    def _doubt(self, images: list[ImageLabels], rejected: list[Rejection]) -> str:
        """What speaks against the labels being of SOURCE_SIZE; "" if nothing does."""

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
    def _unpacked(self) -> BinaryIO | None:
        return table_file.unpacked(self.path)

    @cached_property
    def _plain(self) -> Path:
        """Where every process of this machine finds the table's plain bytes."""
        return Path(f"/proc/{os.getpid()}/fd/{self._unpacked.fileno()}") if self._unpacked else self.path

    @cached_property
    def _descriptor(self) -> int:
        descriptor = os.open(self._plain, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor


class RunTable(LabelTable):
    """The competition's table: one row per image and class, with run-length masks.

    `Image_Label` splits at its last underscore. An empty field, NaN and -1 mean that the class is absent, as does a
    missing row. Every line is a row of its own, even within quotes. `read` does not look into runs.
    """

    content_of = "runs"

    def runs(self, labels: ImageLabels, label: int) -> rle.Runs:
        from cloudseg.data import rle  # numpy, which --help and the launcher need not wait for

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

    def _doubt(self, images: list[ImageLabels], rejected: list[Rejection]) -> str:
        from cloudseg.data import label_size

        present = [(labels, i) for labels in images for i, rows in enumerate(labels.rows) if rows]
        found, wrong = [], []
        for labels, i in present[:: max(len(present) // label_size.SAMPLE, 1)]:
            try:
                found.append(self.runs(labels, i))
            except RowError as error:
                wrong.append(error)
        if len(wrong) > max(len(found), label_size.ENOUGH):
            return f"{len(wrong)} of {len(found) + len(wrong)} masks cannot be, as on line {wrong[0].line}: {wrong[0]}"
        return label_size.doubt(found)

    def _sort_out(self, rows: Iterator[tuple[Row, bytes]]) -> tuple[list[ImageLabels], list[Rejection]]:
        _, header = next(rows, (None, b""))
        check_header(header, self.path, "give the competition's train.csv with --csv")
        found: dict[str, dict[str, tuple[Row, bool]]] = {}
        rejected: list[Rejection] = []
        longest = 0
        near_cells: list[tuple[Row, str, int]] = []
        for row, line in rows:
            try:
                name, label, text, length = parse(line)
                longest = max(longest, length)
                if cut_lengths(length):
                    near_cells.append((row, name, length))
                earlier, _ = found.setdefault(name, {}).setdefault(label, (row, bool(text)))
                if earlier is not row:
                    raise RowFault(name, HEADER[0], f"{label} of this image is on line {earlier.line} already")
            except RowFault as fault:
                rejected.append(fault.on(row))
        rejected += [
            RowFault(name, HEADER[1], cut_reason(length)).on(row)
            for row, name, length in near_cells
            if length in cut_lengths(longest)
        ]
        rejected.sort(key=lambda rejection: rejection.line)
        return [_image(name, entries) for name, entries in found.items()], rejected


def name_fault(name: str) -> str:
    """Why an image cannot have this name, or ""."""
    if not name or name in (".", "..") or any(character in name for character in "/\\\0"):
        return "an image is named by a file name without a folder"
    return f"a file name has at most {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else ""


def check_header(line: bytes, path: Path, otherwise: str) -> None:
    """Raises UsageError, which says what the table seems to be, or `otherwise`, unless its first row is HEADER."""
    try:
        if split_row(line) == HEADER:
            return
    except csv.Error:
        pass
    if not line:
        raise UsageError(f"{path} is empty, without even the header {','.join(HEADER)}: {otherwise}")
    begins = printable(line[:60].decode(errors="backslashreplace"))
    advice = _what_it_seems(line) or otherwise
    raise UsageError(f'{path} begins with "{begins}", not with "{",".join(HEADER)}": {advice}')


def _what_it_seems(header: bytes) -> str:
    """What a table with another header seems to be, and what to do; "" if that is not known."""
    text, names = header.decode(errors="backslashreplace").replace('"', ""), [name.lower() for name in HEADER]
    if "\r" in text:
        return "its lines end in a carriage return alone; write it with plain line ends"
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if set(names) <= {field.strip().lower() for field in text.split(separator)}:
            return f"its fields are separated by {word}; write it with commas"
    fields = [field.strip() for field in text.split(",")]
    found = [field.lower() for field in fields]
    if found == names:
        return "spell the header exactly so"
    if found == names[::-1]:
        return "its columns are swapped; put Image_Label first"
    if set(names) <= set(found):
        return f"it has {len(fields)} columns; keep these two alone (in pandas: to_csv(FILE, index=False))"
    if len(fields) == 7 and fields[-1] in (*CLASSES, "class", ""):
        return "this is a table of boxes; give it with --boxes"
    if len(fields) > 1 and fields[1].rpartition("_")[2] in CLASSES:
        return "its rows and columns are exchanged; write one row an image and class"
    if fields[0].rpartition("_")[2] in CLASSES:
        return "it has no header; put that line first"
    return ""


def cut_lengths(longest: int) -> frozenset[int]:
    """The lengths at which fields of a table were cut by a spreadsheet, if its longest field has `longest` characters;
    none if no spreadsheet cut that.

    A blank at the end may be gone since.
    """
    return next((lengths for cut in CELLS if longest in (lengths := frozenset((cut - 1, cut)))), frozenset())


def cut_reason(length: int) -> str:
    """Why a field of one of the `cut_lengths` is wrong."""
    return f"cut by a spreadsheet: it has {length:,} characters, and no field of the table has more"


def parse(line: bytes) -> tuple[str, str, str, int]:
    """Image, class and runs of a row of the competition's table, and the characters of its second field; "" for the
    runs of an absent class. Raises RowFault."""
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
    return name, label, "" if text.lower() in ABSENT else text, len(others[0])


def _image(name: str, entries: dict[str, tuple[Row, bool]]) -> ImageLabels:
    rows = tuple((entries[label][0],) if label in entries and entries[label][1] else () for label in CLASSES)
    return ImageLabels(name, min(row.line for row, _ in entries.values()), rows)
