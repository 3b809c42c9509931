"""The published box table: one row per rectangle that a labeller drew in an image."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloudseg.core.errors import UsageError
from cloudseg.data.csv_rows import Row, quoted, split_row
from cloudseg.data.label_size import MIN_EVIDENCE, SAMPLE_SIZE
from cloudseg.data.labels import (
    CLASSES,
    HEADER,
    SOURCE_SIZE,
    ImageLabels,
    LabelTable,
    Rejection,
    RowFault,
    name_problem,
)
from cloudseg.data.rle import Runs

COLUMNS = ("id", "file", "x1", "y1", "x2", "y2", "class")
MIN_BOXES = 20
"""If this many boxes all lie in the upper left quarter, they are of smaller images: of the published boxes 6 % do."""


class Box(NamedTuple):
    """Pixels x1 <= x < x2 and y1 <= y < y2 of an image of SOURCE_SIZE."""

    x1: int
    y1: int
    x2: int
    y2: int


class BoxTable(LabelTable):
    """The published table: one row per box with the columns COLUMNS; a header row is optional.

    The last part of `file` is the name of the image. The mask of a class is the union of its boxes by all labellers. A
    row without corners and class says that a labeller saw nothing; its image has no class unless other rows name one.
    Boxes are clipped to the image.
    """

    content_of = "boxes"

    def runs(self, labels: ImageLabels, label: int) -> Runs:
        return union([self._box(row, labels.name, CLASSES[label]) for row in labels.rows[label]])

    def _box(self, row: Row, name: str, label: str) -> Box:
        try:
            _, *found, box = self._parse(self._read_again(row))
        except RowFault:
            raise self._changed() from None
        if found != [name, label] or box is None:
            raise self._changed()
        return box

    def _parse_rows(self, rows: Iterator[tuple[Row, bytes]]) -> tuple[list[ImageLabels], list[Rejection]]:
        first: dict[str, tuple[str, int]] = {}
        present: dict[str, list[list[Row]]] = {}
        rejected: list[Rejection] = []
        for row, line in rows:
            if row.line == 1 and _is_header(line, self.path):
                continue
            try:
                file, name, label, box = self._parse(line)
                earlier, number = first.setdefault(name, (file, row.line))
                if file != earlier:
                    raise RowFault(name, "file", f"line {number} has an image of this name in another folder")
            except RowFault as fault:
                rejected.append(fault.on(row))
                continue
            classes = present.setdefault(name, [[] for _ in CLASSES])
            if box:
                classes[CLASSES.index(label)].append(row)
        images = [ImageLabels(name, first[name][1], tuple(map(tuple, rows))) for name, rows in present.items()]
        return images, rejected

    def _size_problem(self, images: list[ImageLabels], rejected: list[Rejection]) -> str:
        rows = [
            (row, labels.name, CLASSES[i]) for labels in images for i, rows in enumerate(labels.rows) for row in rows
        ]
        if len(rejected) >= MIN_EVIDENCE and len(rejected) > len(rows):
            return f"most of its rows are not boxes of {','.join(COLUMNS)}, for example {rejected[0]}"
        boxes = [self._box(*each) for each in rows[:: max(len(rows) // SAMPLE_SIZE, 1)]]
        if len(boxes) < MIN_BOXES:
            return ""
        x2, y2 = max(box.x2 for box in boxes), max(box.y2 for box in boxes)
        if x2 <= SOURCE_SIZE[1] // 2 and y2 <= SOURCE_SIZE[0] // 2:
            return f"no box goes beyond x2 = {x2} and y2 = {y2}, so its boxes seem to be of smaller images"
        return ""

    def _parse(self, line: bytes) -> tuple[str, str, str, Box | None]:
        """Parse a row into file, image, class and box; class "" and no box if the labeller saw nothing.

        Raises RowFault for a row that is not valid.
        """
        try:
            fields = split_row(line)
        except csv.Error as error:
            # The image is rejected, so its name is needed even if the row is not valid CSV.
            fields = line.decode(errors="backslashreplace").replace('"', "").split(",")
            raise RowFault(_image_name(fields), "file", f"not a row of a CSV file: {error}") from None
        name = _image_name(fields)
        if len(fields) != len(COLUMNS):
            raise RowFault(name, "class", f"{len(fields)} fields instead of {len(COLUMNS)}")
        _, file, *corners, label = fields
        if problem := name_problem(name):
            raise RowFault(name or file, "file", problem)
        if not label and not any(corners):
            return file, name, label, None
        if label not in CLASSES:
            raise RowFault(name, "class", f"the class {quoted(label)} is none of {', '.join(CLASSES)}")
        return file, name, label, _clipped(name, corners, self.size or SOURCE_SIZE)


def _is_header(line: bytes, path: Path) -> bool:
    """Whether a table's first row is a header. Raises UsageError if it is the header of another kind of table."""
    text = line.decode(errors="backslashreplace").replace('"', "")
    if text.startswith(HEADER[0]):
        raise UsageError(f"{path} is a table of runs, not of boxes: give it with --csv")
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if text.count(separator) == len(COLUMNS) - 1 and "," not in text:
            raise UsageError(f"the fields of {path} are separated by {word}: write it with commas")
    return text.lower().split(",") == list(COLUMNS)


def union(boxes: Iterable[Box]) -> Runs:
    """Runs of the union of boxes, for masks of SOURCE_SIZE. No run extends beyond a column."""
    boxes = list(boxes)
    height = SOURCE_SIZE[0]
    # Between two neighbouring edges, all columns have the same runs.
    edges = sorted({x for box in boxes for x in (box.x1, box.x2)})
    runs = [np.empty((0, 2), np.int64)]
    for left, right in pairwise(edges):
        spans = _merged((box.y1, box.y2) for box in boxes if box.x1 <= left and right <= box.x2)
        columns = np.arange(left, right)[:, None, None] * height
        runs.append((columns + np.array(spans, np.int64).reshape(-1, 2)).reshape(-1, 2))
    starts, ends = np.concatenate(runs).T.copy()
    return Runs(starts, ends)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge half-open spans that touch or overlap; returns them in ascending order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            start, before = merged.pop()
            end = max(before, end)
        merged.append((start, end))
    return merged


def _image_name(fields: list[str]) -> str:
    return fields[1].rpartition("/")[2] if len(fields) > 1 else ""


def _clipped(name: str, corners: list[str], given: tuple[int, int]) -> Box:
    """Scale a box from images of size `given` (height, width) to SOURCE_SIZE and clip it.

    Raises RowFault if it is empty or outside the image, or if a corner is not a number.
    """
    height, width = SOURCE_SIZE
    scales = (width / given[1], height / given[0]) * 2
    x1, y1, x2, y2 = (_pixels(name, *each) for each in zip(COLUMNS[2:6], corners, scales, strict=True))
    for axis, low, high, size in (("x", x1, x2, width), ("y", y1, y2, height)):
        if high <= low:
            raise RowFault(name, f"{axis}2", f"{high:g} is not beyond {axis}1 = {low:g}")
        if high <= 0 or low >= size:
            raise RowFault(name, f"{axis}1", f"the box lies outside the image of {width}x{height} pixels")
    return Box(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))


def _pixels(name: str, corner: str, text: str, scale: float) -> int:
    try:
        # float() would accept 1_0 as 10.
        return int(float(text.replace("_", "?")) * scale)
    except (ValueError, OverflowError):
        raise RowFault(name, corner, f"{quoted(text)} is not a number of pixels") from None
