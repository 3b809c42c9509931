"""Writes the competition's submission file in the order of the sample file, and checks a submission for errors."""

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
"""Height and width of the masks of a submission."""
MAX_PROBLEMS = 20
"""Maximum number of problems that `check` returns."""


def names(sample: Path) -> Iterator[tuple[str, str]]:
    """Yield (image, class) of each row of a sample file, in order. Like train.csv, it may be a gzip or zip file.

    Raises UsageError, with file and line, for an invalid or repeated row, and if there are no rows.
    """
    return ((image, label) for _, image, label in _sample_rows(sample))


def missing(rows: Iterable[tuple[str, str]]) -> list[str]:
    """The rows, as image_class, that must be added so that each image has a row for all classes."""
    existing = dict.fromkeys(rows)
    images = dict.fromkeys(image for image, _ in existing)
    return [f"{image}_{label}" for image in images for label in CLASSES if (image, label) not in existing]


def _sample_rows(sample: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, image and class of each row; raises UsageError as `names` does."""
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
    """Raises UsageError for the first image whose name is not UTF-8, or, with `form` csv, has a line break."""
    for image in images:
        problem = ""
        if any("\udc80" <= character <= "\udcff" for character in image):
            problem = "is not UTF-8"
        elif form == "csv" and ("\n" in image or "\r" in image):
            problem = "holds a line break"
        if problem:
            raise UsageError(f'the name of the picture "{printable(image)}" {problem}: rename the file')


def write(path: Path, rows: Iterable[tuple[str, str]], mask: Callable[[str, str], np.ndarray]) -> tuple[int, int]:
    """Write a submission with `rows` of (image, class), as from `names`; `mask` returns the mask of a row, bool SIZE.

    Names with commas or quotes are quoted. Holds one mask in memory. Returns the numbers of rows and of non-empty rows.
    """
    count = not_empty = 0
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for image, label in rows:
            pixels = mask(image, label)
            if pixels.shape != SIZE:
                raise ValueError(f"{image}, {label}: a mask of {pixels.shape}, not {SIZE}")
            runs = rle.encode(pixels)
            writer.writerow((f"{image}_{label}", runs))
            count, not_empty = count + 1, not_empty + bool(runs)
    return count, not_empty


def check(path: Path, sample: Path | None) -> list[str]:
    """Return the problems of a submission with their lines; an empty list if it is valid. It may be a gzip or zip file.

    With a sample file the submission must have its rows in its order; without one, a row for all classes of each image,
    in any order. Reads line by line, and holds only the names in memory. Raises UsageError if a file cannot be read.
    """
    problems = list(itertools.islice(_problems(path, sample), MAX_PROBLEMS + 1))
    return problems[:MAX_PROBLEMS] + ["and more"] * (len(problems) > MAX_PROBLEMS)


def print_check(path: Path, sample: Path | None) -> bool:
    """Print the problems of a submission; returns whether it is valid.

    If `sample` is None, a sample_submission.csv in the submission's folder is used.
    """
    beside = path.with_name("sample_submission.csv")
    sample = sample or (beside if beside.exists() and beside != path else None)
    problems = check(path, sample)
    for problem in problems:
        print(f"{path}: {problem}")
    if not problems:
        against = (
            f"as {sample} requires" if sample else "in form; with --sample FILE, rows and their order are checked too"
        )
        print(f"{path}: correct, {against}")
    return not problems


def _problems(path: Path, sample: Path | None) -> Iterator[str]:
    places = {f"{image}_{label}": line for line, image, label in _sample_rows(sample)} if sample else {}
    seen: dict[str, int] = {}
    last = ""
    longest = 0
    at_cell_limit: list[tuple[int, str, int]] = []
    masks: list[rle.Runs] = []
    with table_file.opened(path) as file:
        for number, line in enumerate(file, 1):
            text = line.removesuffix(b"\n")
            if text.endswith(b"\r"):
                yield f"line {number}: ends with CR LF, as on Windows; write the file with LF line ends"
                return
            if number == 1:
                if text != ",".join(HEADER).encode():
                    yield f"line 1: must be {','.join(HEADER)}, not {_start_of(text)}"
                continue
            try:
                name, *others = split_row(text)
            except csv.Error as error:
                yield f"line {number}: is not a row of a CSV file: {error}"
                continue
            if not others:
                yield f"line {number}: has no comma: {_start_of(text)}"
            elif len(others) > 1:
                yield f"line {number}: has {1 + len(others)} fields instead of {len(HEADER)}: {_start_of(text)}"
            elif name in seen:
                yield f"line {number}: {name} is there twice, first in line {seen[name]}"
            elif sample and name not in places:
                yield f"line {number}: {name[:60]!r} is not in {sample.name}"
            elif not sample and name.rpartition("_")[2] not in CLASSES:
                yield f"line {number}: {name[:60]!r} does not end in a class, as in 0011165.jpg_Fish"
            elif places.get(name, 0) < places.get(last, 0):
                yield f"line {number}: {name} comes after {last}, and before it in {sample.name if sample else ''}"
            elif problem := _mask_problem(others[0]):
                yield f"line {number}: {name} {problem}"
            elif others[0] and len(masks) < label_size.SAMPLE_SIZE:
                masks.append(rle.parse(others[0], SIZE[0] * SIZE[1]))
            seen.setdefault(name, number)
            last = max(last, name, key=lambda each: places.get(each, 0))
            length = max(map(len, others), default=0)
            longest = max(longest, length)
            if cut_lengths(length):
                at_cell_limit.append((number, name, length))
    for number, name, length in at_cell_limit:
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


def _start_of(line: bytes) -> str:
    return repr(line[:60].decode(errors="backslashreplace"))


def _mask_problem(runs: str) -> str:
    """Why a field is not a valid mask; "" if it is."""
    if runs != runs.strip() or "  " in runs:
        return "has superfluous blanks"
    if runs.lower() in ("nan", "none", "null"):
        return f"holds the text {runs!r}; write an empty field for a mask without pixels"
    try:
        rle.parse(runs, SIZE[0] * SIZE[1])
    except rle.RunsError as error:
        more = "; masks are of 350x525 pixels" if "leaves the image" in str(error) else ""
        return f"has a mask in which {error}{more}"
    return ""
