"""The published box table: what each labeller marked in an image, one rectangle per row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from cloudseg.data.labels import (
    CLASSES,
    SOURCE_SIZE,
    ImageLabels,
    LabelTable,
    Rejection,
    Row,
    RowFault,
    name_fault,
    quoted,
    split_row,
)
from cloudseg.data.rle import Runs

COLUMNS = ("id", "file", "x1", "y1", "x2", "y2", "class")


class Box(NamedTuple):
    """Pixels x1 <= x < x2 and y1 <= y < y2 of an image of SOURCE_SIZE."""

    x1: int
    y1: int
    x2: int
    y2: int


class BoxTable(LabelTable):
    """The published table, which has no header: one row per box, of columns COLUMNS.

    Of `file`, the last part is the image. Boxes of one class in one image, by whichever labeller, add up to their
    union. A row without corners and class is a labeller who saw nothing: the image is known, even if no other row is
    about it. What sticks out of the image is cut off.
    """

    kind = "boxes"

    def runs(self, labels: ImageLabels, label: int) -> Runs:
        return union([self._box(row, labels.name, CLASSES[label]) for row in labels.rows[label]])

    def _box(self, row: Row, name: str, label: str) -> Box:
        try:
            _, *found, box = _parse(self._read_again(row))
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
            try:
                file, name, label, box = _parse(line)
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


def _parse(line: bytes) -> tuple[str, str, str, Box | None]:
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
    return file, name, label, _clipped(name, corners)


def _image_name(fields: list[str]) -> str:
    return fields[1].rpartition("/")[2] if len(fields) > 1 else ""


def _clipped(name: str, corners: list[str]) -> Box:
    """The part of a box that lies in the image. Raises RowFault if there is none, and for what is no box at all."""
    x1, y1, x2, y2 = (_pixels(name, *corner) for corner in zip(COLUMNS[2:6], corners, strict=True))
    height, width = SOURCE_SIZE
    for axis, low, high, size in (("x", x1, x2, width), ("y", y1, y2, height)):
        if high <= low:
            raise RowFault(name, f"{axis}2", f"{high:g} is not beyond {axis}1 = {low:g}")
        if high <= 0 or low >= size:
            raise RowFault(name, f"{axis}1", f"the box lies outside the image of {width}x{height} pixels")
    return Box(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))


def _pixels(name: str, corner: str, text: str) -> int:
    try:
        # Not for float(), which would take 1_0 for 10.
        return int(float(text.replace("_", "?")))
    except (ValueError, OverflowError):
        raise RowFault(name, corner, f"{quoted(text)} is not a number of pixels") from None
