"""The competition's submission file: written row by row in the order of the sample file, and checked for what it would
be refused or scored wrong for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from cloudseg import atomic
from cloudseg.data import rle
from cloudseg.data.labels import CLASSES, HEADER
from cloudseg.errors import UsageError

SIZE = (350, 525)
"""Height and width of the masks that are submitted."""
MOST_FAULTS = 20
"""How many `check` tells of."""


def names(sample: Path) -> Iterator[tuple[str, str]]:
    """(image, class) of each row of a sample file, in its order. Raises UsageError, with file and line, for a row that
    is none."""
    try:
        with sample.open(encoding="utf-8", newline="") as file:
            if (header := file.readline().strip()) != ",".join(HEADER):
                raise UsageError(f"{sample}, line 1: must be {','.join(HEADER)}, not {header[:60]!r}")
            for number, line in enumerate(file, 2):
                image, _, label = line.partition(",")[0].rpartition("_")
                if not image or label not in CLASSES:
                    raise UsageError(f"{sample}, line {number}: {line.strip()[:60]!r} does not begin with IMAGE_CLASS,")
                yield image, label
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{sample}: cannot be read: {error}") from None


def write(path: Path, rows: Iterable[tuple[str, str]], mask: Callable[[str, str], np.ndarray]) -> tuple[int, int]:
    """Write a submission of rows (image, class), as `names` gives them; `mask` gives a bool mask of SIZE for each.
    Returns the number of rows, and of those that are not empty. Never holds more than one mask."""
    count = some = 0
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(HEADER) + "\n")
        for image, label in rows:
            found = mask(image, label)
            if found.shape != SIZE:
                raise ValueError(f"{image}, {label}: a mask of {found.shape}, not {SIZE}")
            runs = rle.encode(found)
            file.write(f"{image}_{label},{runs}\n")
            count, some = count + 1, some + bool(runs)
    return count, some


def check(path: Path, sample: Path | None) -> list[str]:
    """What is wrong with a submission, each with its line; nothing if it can be submitted.

    With a sample file its rows must be there in its order; without, those of all classes of each image, in any.
    Reads line by line, in memory for the names alone. Raises UsageError if a file cannot be read.
    """
    faults = itertools.islice(_faults(path, sample), MOST_FAULTS + 1)
    try:
        found = list(faults)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    return found[:MOST_FAULTS] + ["and more"] * (len(found) > MOST_FAULTS)


def _faults(path: Path, sample: Path | None) -> Iterator[str]:
    places = {f"{image}_{label}": line for line, (image, label) in enumerate(names(sample), 2)} if sample else {}
    seen: dict[str, int] = {}
    last = ""
    with path.open(encoding="utf-8", newline="") as file:
        for number, line in enumerate(file, 1):
            text = line.removesuffix("\n")
            if text.endswith("\r"):
                yield f"line {number}: ends in the Windows way (CR LF); write it with plain line ends"
                return
            if number == 1:
                if text != ",".join(HEADER):
                    yield f"line 1: must be {','.join(HEADER)}, not {text[:60]!r}"
                continue
            name, separator, runs = text.partition(",")
            if not separator:
                yield f"line {number}: has no comma: {text[:60]!r}"
            elif name in seen:
                yield f"line {number}: {name} is there twice, first in line {seen[name]}"
            elif sample and name not in places:
                yield f"line {number}: {name!r} is not in {sample.name}"
            elif not sample and name.rpartition("_")[2] not in CLASSES:
                yield f"line {number}: {name[:60]!r} does not end in a class, as in 0011165.jpg_Fish"
            elif places.get(name, 0) < places.get(last, 0):
                yield f"line {number}: {name} comes after {last}, and before it in {sample.name if sample else ''}"
            elif problem := _mask(runs):
                yield f"line {number}: {name} {problem}"
            seen.setdefault(name, number)
            last = max(last, name, key=lambda each: places.get(each, 0))
    for name, place in places.items():
        if name not in seen:
            yield f"{name}, line {place} of {sample.name if sample else ''}, is missing"
    if not sample:
        images = dict.fromkeys(name.rpartition("_")[0] for name in seen)
        yield from (f"{i}_{c} is missing" for i in images for c in CLASSES if f"{i}_{c}" not in seen)


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
