"""The competition's submission file: written row by row in the order of the sample file, and checked for what it would
be refused or scored wrong for."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from cloudseg.core import atomic
from cloudseg.core.errors import UsageError
from cloudseg.data import csv_rows, label_size, rle, table_file
from cloudseg.data.csv_rows import printable, split_row
from cloudseg.data.labels import CLASSES, HEADER, RowFault, check_header, cut_lengths, cut_reason, parse

SIZE = (350, 525)
"""Height and width of the masks that are submitted."""
MOST_FAULTS = 20
"""How many `check` tells of."""


def names(sample: Path) -> Iterator[tuple[str, str]]:
    """(image, class) of each row of a sample file, in its order; it is read as train.csv is, and may be packed as that.

    Raises UsageError, with file and line, for a row that is none or is there twice, and if there is none.
    """
    return ((image, label) for _, image, label in _sample_rows(sample))


def missing(rows: Iterable[tuple[str, str]]) -> list[str]:
    """The rows (image_class) without which not every image of these rows has all classes."""
    there = dict.fromkeys(rows)
    images = dict.fromkeys(image for image, _ in there)
    return [f"{image}_{label}" for image in images for label in CLASSES if (image, label) not in there]


def _sample_rows(sample: Path) -> Iterator[tuple[int, str, str]]:
    """Line, image and class of each row, as `names` gives them."""
    seen: dict[tuple[str, str], int] = {}
    with table_file.opened(sample) as file:
        rows = csv_rows.rows(file)
        _, header = next(rows, (None, b""))
        check_header(header, sample, "give the competition's sample_submission.csv with --sample")
        for row, line in rows:
            try:
                image, label, _, _ = parse(line)
            except RowFault as fault:
                raise UsageError(f"{sample}, {fault.on(row)}") from None
            if (first := seen.setdefault((image, label), row.line)) != row.line:
                raise UsageError(f"{sample}, line {row.line}: {image}_{label} is on line {first} already")
            yield row.line, image, label
    if not seen:
        raise UsageError(f"{sample} has no rows below its header: give the competition's sample_submission.csv")


def refuse_names(images: Iterable[str], form: str) -> None:
    """Raises UsageError for the first image whose name cannot be written: in a submission (`form` csv), every line is a
    row."""
    for image in images:
        fault = ""
        if any("\udc80" <= character <= "\udcff" for character in image):
            fault = "is not UTF-8"
        elif form == "csv" and ("\n" in image or "\r" in image):
            fault = "holds a line break"
        if fault:
            raise UsageError(f'the name of the picture "{printable(image)}" {fault}: rename the file')


def write(path: Path, rows: Iterable[tuple[str, str]], mask: Callable[[str, str], np.ndarray]) -> tuple[int, int]:
    """Write a submission of rows (image, class), as `names` gives them; `mask` gives a bool mask of SIZE for each.
    Names with commas or quotes are quoted. Returns the number of rows, and of those that are not empty. Never holds
    more than one mask."""
    count = some = 0
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for image, label in rows:
            found = mask(image, label)
            if found.shape != SIZE:
                raise ValueError(f"{image}, {label}: a mask of {found.shape}, not {SIZE}")
            runs = rle.encode(found)
            writer.writerow((f"{image}_{label}", runs))
            count, some = count + 1, some + bool(runs)
    return count, some


def check(path: Path, sample: Path | None) -> list[str]:
    """What is wrong with a submission, which may be packed, each with its line; nothing if it can be submitted.

    With a sample file its rows must be there in its order; without, those of all classes of each image, in any.
    Reads line by line, in memory for the names alone. Raises UsageError if a file cannot be read.
    """
    found = list(itertools.islice(_faults(path, sample), MOST_FAULTS + 1))
    return found[:MOST_FAULTS] + ["and more"] * (len(found) > MOST_FAULTS)


def _faults(path: Path, sample: Path | None) -> Iterator[str]:
    places = {f"{image}_{label}": line for line, image, label in _sample_rows(sample)} if sample else {}
    seen: dict[str, int] = {}
    last = ""
    longest = 0
    near_cells: list[tuple[int, str, int]] = []
    masks: list[rle.Runs] = []
    with table_file.opened(path) as file:
        for number, line in enumerate(file, 1):
            text = line.removesuffix(b"\n")
            if text.endswith(b"\r"):
                yield f"line {number}: ends in the Windows way (CR LF); write it with plain line ends"
                return
            if number == 1:
                if text != ",".join(HEADER).encode():
                    yield f"line 1: must be {','.join(HEADER)}, not {_shown(text)}"
                continue
            try:
                name, *others = split_row(text)
            except csv.Error as error:
                yield f"line {number}: is not a row of a CSV file: {error}"
                continue
            if not others:
                yield f"line {number}: has no comma: {_shown(text)}"
            elif len(others) > 1:
                yield f"line {number}: has {1 + len(others)} fields in place of {len(HEADER)}: {_shown(text)}"
            elif name in seen:
                yield f"line {number}: {name} is there twice, first in line {seen[name]}"
            elif sample and name not in places:
                yield f"line {number}: {name[:60]!r} is not in {sample.name}"
            elif not sample and name.rpartition("_")[2] not in CLASSES:
                yield f"line {number}: {name[:60]!r} does not end in a class, as in 0011165.jpg_Fish"
            elif places.get(name, 0) < places.get(last, 0):
                yield f"line {number}: {name} comes after {last}, and before it in {sample.name if sample else ''}"
            elif problem := _mask(others[0]):
                yield f"line {number}: {name} {problem}"
            elif others[0] and len(masks) < label_size.SAMPLE_SIZE:
                masks.append(rle.parse(others[0], SIZE[0] * SIZE[1]))
            seen.setdefault(name, number)
            last = max(last, name, key=lambda each: places.get(each, 0))
            length = max(map(len, others), default=0)
            longest = max(longest, length)
            if cut_lengths(length):
                near_cells.append((number, name, length))
    for number, name, length in near_cells:
        if length in cut_lengths(longest):
            yield f"line {number}: {name} is {cut_reason(length)}"
    if reason := label_size.submission_size_problem(masks):
        yield reason
    for name, place in places.items():
        if name not in seen:
            yield f"{name}, line {place} of {sample.name if sample else ''}, is missing"
    if not sample:
        parts = (name.rpartition("_") for name in seen)
        yield from (f"{name} is missing" for name in missing((image, label) for image, _, label in parts))


def _shown(line: bytes) -> str:
    return repr(line[:60].decode(errors="backslashreplace"))


def _mask(runs: str) -> str:
    if runs != runs.strip() or "  " in runs:
        return "has blanks too many"
    if runs.lower() in ("nan", "none", "null"):
        return f"holds the text {runs!r}; a mask without pixels is empty"
    try:
        rle.parse(runs, SIZE[0] * SIZE[1])
    except rle.RunsError as error:
        more = "; masks are of 350x525 pixels" if "leaves the image" in str(error) else ""
        return f"has a mask in which {error}{more}"
    return ""
