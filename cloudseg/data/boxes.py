"""The published box table: what each labeller marked in an image, one rectangle per row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloudseg.core.errors import UsageError
from cloudseg.data.csv_rows import Row, quoted, split_row
from cloudseg.data.label_size import ENOUGH, SAMPLE
from cloudseg.data.labels import (
    CLASSES,
    HEADER,
    SOURCE_SIZE,
    ImageLabels,
    LabelTable,
    Rejection,
    RowFault,
    name_fault,
)
from cloudseg.data.rle import Runs

COLUMNS = ("id", "file", "x1", "y1", "x2", "y2", "class")


ENOUGH_BOXES = 20
"""So many boxes in the upper left quarter of the images are no accident: 6 % of the published boxes are there."""


class Box(NamedTuple):
    """Pixels x1 <= x < x2 and y1 <= y < y2 of an image of SOURCE_SIZE."""

    x1: int
    y1: int
    x2: int
    y2: int


class BoxTable(LabelTable):
    """The published table: one row per box, of columns COLUMNS, which a first row may name.

    Of `file`, the last part is the image. Boxes of one class in one image, by whichever labeller, add up to their
    union. A row without corners and class is a labeller who saw nothing: the image is known, even if no other row is
    about it. What sticks out of the image is cut off.
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

    def _sort_out(self, rows: Iterator[tuple[Row, bytes]]) -> tuple[list[ImageLabels], list[Rejection]]:
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

    def _doubt(self, images: list[ImageLabels], rejected: list[Rejection]) -> str:
        rows = [
            (row, labels.name, CLASSES[i]) for labels in images for i, rows in enumerate(labels.rows) for row in rows
        ]
        if len(rejected) >= ENOUGH and len(rejected) > len(rows):
            return f"most of its rows are no boxes of {','.join(COLUMNS)}, as {rejected[0]}"
        boxes = [self._box(*each) for each in rows[:: max(len(rows) // SAMPLE, 1)]]
        if len(boxes) < ENOUGH_BOXES:
            return ""
        x2, y2 = max(box.x2 for box in boxes), max(box.y2 for box in boxes)
        if x2 <= SOURCE_SIZE[1] // 2 and y2 <= SOURCE_SIZE[0] // 2:
            return f"no box goes beyond x2 = {x2} and y2 = {y2}, so its boxes seem to be of smaller images"
        return ""

    def _parse(self, line: bytes) -> tuple[str, str, str, Box | None]:
        """File, image, class and box of a row; class "" and no box if nothing was seen. Raises RowFault."""
        try:
            fields = split_row(line)
        except csv.Error as error:
            # The image is left out, so its name must be found in spite of what is wrong.
            fields = line.decode(errors="backslashreplace").replace('"', "").split(",")
            raise RowFault(_image_name(fields), "file", f"not a row of a CSV file: {error}") from None
        name = _image_name(fields)
        if len(fields) != len(COLUMNS):
            raise RowFault(name, "class", f"{len(fields)} fields in place of {len(COLUMNS)}")
        _, file, *corners, label = fields
        if fault := name_fault(name):
            raise RowFault(name or file, "file", fault)
        if not label and not any(corners):
            return file, name, label, None
        if label not in CLASSES:
            raise RowFault(name, "class", f"the class {quoted(label)} is none of {', '.join(CLASSES)}")
        return file, name, label, _clipped(name, corners, self.size or SOURCE_SIZE)


def _is_header(line: bytes, path: Path) -> bool:
    """Whether a table's first row names the columns. Raises UsageError if it is that of another table."""
    text = line.decode(errors="backslashreplace").replace('"', "")
    if text.startswith(HEADER[0]):
        raise UsageError(f"{path} is a table of runs, not of boxes: give it with --csv")
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if text.count(separator) == len(COLUMNS) - 1 and "," not in text:
            raise UsageError(f"the fields of {path} are separated by {word}: write it with commas")
    return text.lower().split(",") == list(COLUMNS)


def union(boxes: Iterable[Box]) -> Runs:
    """The pixels that lie in any of the boxes, as runs on SOURCE_SIZE that end at the bottom of a column at the
    latest."""
    boxes = list(boxes)
    height = SOURCE_SIZE[0]
    # Between two neighbouring edges, all columns are alike.
    edges = sorted({x for box in boxes for x in (box.x1, box.x2)})
    runs = [np.empty((0, 2), np.int64)]
    for left, right in pairwise(edges):
        spans = _merged((box.y1, box.y2) for box in boxes if box.x1 <= left and right <= box.x2)
        columns = np.arange(left, right)[:, None, None] * height
        runs.append((columns + np.array(spans, np.int64).reshape(-1, 2)).reshape(-1, 2))
    starts, ends = np.concatenate(runs).T.copy()
    return Runs(starts, ends)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Half-open spans in ascending order, those that meet or overlap made one."""
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
    """The part of a box, on images of the height and width that are `given`, that lies in an image of SOURCE_SIZE.
    Raises RowFault if there is none, and for what is no box at all."""
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
        # Not for float(), which would take 1_0 for 10.
        return int(float(text.replace("_", "?")) * scale)
    except (ValueError, OverflowError):
        raise RowFault(name, corner, f"{quoted(text)} is not a number of pixels") from None
