"""The competition's submission file: written row by row as the sample file asks, and checked for what it would be
refused or scored wrong for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
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
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise UsageError(f"{sample}: cannot be read: {error}") from None


def write(path: Path, sample: Path, mask: Callable[[str, str], np.ndarray]) -> int:
    """Write a submission with the rows of `sample`; `mask` gives a bool mask of SIZE for image and class. Returns the
    number of rows. Never holds more than one mask."""
    rows = 0
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(HEADER) + "\n")
        for image, label in names(sample):
            found = mask(image, label)
            if found.shape != SIZE:
                raise ValueError(f"{image}, {label}: a mask of {found.shape}, not {SIZE}")
            file.write(f"{image}_{label},{rle.encode(found)}\n")
            rows += 1
    return rows


def check(path: Path, sample: Path) -> list[str]:
    """What is wrong with a submission, each with its line; nothing if it can be submitted.

    Reads both files side by side, in memory for the names alone. Raises UsageError if a file cannot be read.
    """
    faults = itertools.islice(_faults(path, sample), MOST_FAULTS + 1)
    try:
        found = list(faults)
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    return found[:MOST_FAULTS] + ["and more"] * (len(found) > MOST_FAULTS)


def _faults(path: Path, sample: Path) -> Iterator[str]:
    places = {f"{image}_{label}": line for line, (image, label) in enumerate(names(sample), 2)}
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
            elif name not in places:
                yield f"line {number}: {name!r} is not in {sample.name}"
            elif places[name] < places.get(last, 0):
                yield f"line {number}: {name} comes after {last}, and before it in {sample.name}"
            elif problem := _mask(runs):
                yield f"line {number}: {name} {problem}"
            seen.setdefault(name, number)
            last = max(last, name, key=lambda each: places.get(each, 0))
    for name, place in places.items():
        if name not in seen:
            yield f"{name}, line {place} of {sample.name}, is missing"


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
