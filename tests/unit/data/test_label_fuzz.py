"""Thousands of damaged rows of a run table against a slow reading of the same bytes, written from the format's
description alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudseg.data.labels import CLASSES, RowError, RunTable

PIXELS = 1400 * 2100
ODD_BYTES = (b"\0", b"\r", b"\n", b'"', b'""', b",", b"_", b"/", b"\\", b" ", b"\t", b"\v", b"\x1c", b"\x85", b"\xff")
ODD_TEXTS = ("\u00a0", "\u2003", "é", "３", "+", "-", "-0", "1e3", "1.0", "0x1", "nan", "9" * 18, "9" * 19, "0" * 20)
PixelMap = tuple[int, bytes]
"""First true pixel, and from there to the last one a byte per pixel."""


# The slow reading


@dataclass(frozen=True)
class Reading:
    """What a row says: `wrong` if it cannot stay, `bad_runs` if only its runs are wrong; `pixels` None = absent.

    The description leaves some spellings of runs open: those that are `unclear` may be taken at their value or refused.
    """

    wrong: bool = True
    name: str = ""
    label: str = ""
    bad_runs: bool = False
    unclear: bool = False
    pixels: PixelMap | None = None


def read_slowly(table: bytes) -> dict[int, Reading]:
    """By line, all rows below the header but blank ones; one that repeats image and class is wrong."""
    readings: dict[int, Reading] = {}
    seen: set[tuple[str, str]] = set()
    for number, line in enumerate(table.split(b"\n")[1:], 2):
        while line.endswith(b"\r"):
            line = line[:-1]
        if line:
            reading = read_row(line)
            if not reading.wrong and (reading.name, reading.label) in seen:
                reading = Reading()
            seen.add((reading.name, reading.label))
            readings[number] = reading
    return readings


def read_row(line: bytes) -> Reading:
    # Latin-1 keeps apart the bytes that are no text: a field is taken as UTF-8 only when it is known which it is.
    fields = split_fields(line.decode("latin-1"))
    if fields is None or len(fields) != 2 or "_" not in fields[0]:
        return Reading()
    try:
        first = fields[0].encode("latin-1").decode()
    except UnicodeDecodeError:
        return Reading()
    cut = max(i for i, character in enumerate(first) if character == "_")
    name, label = first[:cut], first[cut + 1 :]
    if name in ("", ".", "..") or set(name) & set("/\\\0") or len(name) > 255:
        return Reading()
    if label not in ("Fish", "Flower", "Gravel", "Sugar"):
        return Reading()
    try:
        runs = fields[1].encode("latin-1").decode()
    except UnicodeDecodeError:
        return Reading(False, name, label, bad_runs=True)
    if runs.strip().lower() in ("", "nan", "-1"):
        return Reading(False, name, label)
    words = runs.split()
    plain = all(character.isdigit() or character in " \t\v\f" for character in runs.strip())
    unclear = not plain or any(len(word) > 18 for word in words)
    pixels = expand_slowly(words)
    return Reading(False, name, label, bad_runs=pixels is None, unclear=unclear, pixels=pixels)


def split_fields(text: str) -> list[str] | None:
    """The fields of a row of CSV; None if quotes or carriage returns are where there must be none."""
    if "\r" in text:
        return None
    fields = []
    while True:
        field = ""
        if text.startswith('"'):
            text = text[1:]
            while True:
                if '"' not in text:
                    return None
                end = text.index('"')
                field, text = field + text[:end], text[end + 1 :]
                if not text.startswith('"'):
                    break
                field, text = field + '"', text[1:]
            if text and text[0] != ",":
                return None
        else:
            end = text.index(",") if "," in text else len(text)
            field, text = text[:end], text[end:]
        fields.append(field)
        if not text:
            return fields
        text = text[1:]


def expand_slowly(words: list[str]) -> PixelMap | None:
    """None for wrong runs."""
    if len(words) % 2 or any(set(word) - set("0123456789") for word in words):
        return None
    spans = []
    free = 1
    for i in range(0, len(words), 2):
        start, length = int(words[i]), int(words[i + 1])
        if length == 0 or start < free or start + length - 1 > PIXELS:
            return None
        free = start + length
        spans.append((start - 1, free - 1))
    return paint(spans)


def paint(spans: Iterable[tuple[int, int]]) -> PixelMap:
    """The pixels of half-open spans, 0-indexed and in ascending order."""
    spans = list(spans)
    first, last = spans[0][0], spans[-1][1]
    pixels = bytearray(last - first)
    for start, end in spans:
        pixels[start - first : end - first] = b"\1" * (end - start)
    return first, bytes(pixels)


# The damage


def good_runs(rng: random.Random) -> list[int]:
    """A few short runs, some of which touch."""
    numbers = []
    position = rng.choice((1, rng.randrange(1, 10_000), rng.randrange(1, PIXELS - 2000)))
    for _ in range(rng.randrange(1, 7)):
        length = rng.randrange(1, 100)
        numbers += [position, length]
        position += length + rng.choice((0, 1, rng.randrange(200)))
    return numbers


def damage_numbers(rng: random.Random, numbers: list[int]) -> list[int]:
    i = rng.randrange(len(numbers))
    kind = rng.randrange(8)
    if kind == 0:
        return numbers[:i] + numbers[i + 1 :]
    if kind == 1:
        return [*numbers[:i], numbers[i], *numbers[i:]]
    if kind == 2:
        return rng.sample(numbers, len(numbers))
    if kind == 3:
        return numbers + numbers[-2:]
    if kind == 4:
        return [*numbers, PIXELS - rng.randrange(3), rng.randrange(4)]
    if kind == 5:
        return [*numbers[:i], rng.choice((0, -1, PIXELS, PIXELS + 1, 2**31, 2**63, 2**64, 10**30)), *numbers[i + 1 :]]
    if kind == 6:
        return [*numbers[:i], numbers[i] + rng.randrange(-120, 120), *numbers[i + 1 :]]
    return numbers


def damage_bytes(rng: random.Random, row: bytes) -> bytes:
    i = rng.randrange(len(row) + 1)
    kind = rng.randrange(11)
    if kind == 0:
        return row[:i] + bytes([row[i] ^ 1 << rng.randrange(8)]) + row[i + 1 :] if i < len(row) else row
    if kind == 1:
        return row[:i] + row[i + rng.randrange(1, 5) :]
    if kind == 2:
        return row[:i] + rng.choice(ODD_BYTES) + row[i:]
    if kind == 3:
        return row[:i] + rng.choice(ODD_TEXTS).encode() + row[i:]
    if kind == 4:
        return row[:i] + bytes([rng.randrange(256)]) + row[i:]
    if kind == 5:
        return row[:i]
    if kind == 6:
        return row + rng.choice((b",", b" ", b"\r", b"\r\r", b" 1", row[row.find(b",") :]))
    if kind == 7:
        return b",".join(rng.sample(row.split(b","), row.count(b",") + 1))
    if kind == 8:
        return b",".join(b'"' + field.replace(b'"', b'""') + b'"' for field in row.split(b","))
    if kind == 9:
        return row.replace(b" ", rng.choice((b"  ", b"\t", b" \v", b"\f ", b"\x1d", b"\xc2\xa0", b",", b"")))
    return row.partition(b",")[0] + b"," + rng.choice((b"", b"NaN", b"-1", b'" "', b"\xc2\xa0", b"-1 ", b"0", b"nan 1"))


def damaged_table(seed: int, rows: int) -> bytes:
    """A table of so many damaged rows, one per image; half of the images have a sound row besides."""
    rng = random.Random(seed)
    lines = [b"Image_Label,EncodedPixels"]
    for number in range(rows):
        numbers = good_runs(rng)
        if rng.random() < 0.4:
            numbers = damage_numbers(rng, numbers)
        row = f"{number:x}.jpg_{rng.choice(CLASSES)},{' '.join(map(str, numbers))}".encode()
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            row = damage_bytes(rng, row)
        lines.append(row)
        if rng.random() < 0.5:
            lines.append(f"{number:x}.jpg_Sugar,{' '.join(map(str, good_runs(rng)))}".encode())
    return rng.choice((b"", b"\xef\xbb\xbf")) + b"\n".join(lines) + rng.choice((b"", b"\n", b"\r\n"))


# The two against each other


@pytest.mark.parametrize("seed", range(4))
def test_damaged_rows_are_read_to_the_pixel_or_rejected(tmp_path: Path, seed: int) -> None:
    content = damaged_table(seed, 5000)
    (tmp_path / "train.csv").write_bytes(content)
    expected = read_slowly(content)
    table = RunTable(tmp_path / "train.csv")
    images, rejected, _ = table.read()

    assert {rejection.line for rejection in rejected} == {line for line, row in expected.items() if row.wrong}
    lines = content.split(b"\n")
    for rejection in rejected:
        text = lines[rejection.line - 1].decode(errors="backslashreplace")
        assert rejection.reason and str(rejection).encode()
        assert '"' in text or text.startswith(rejection.image)

    left_out = {rejection.image for rejection in rejected}
    known = {row.name for row in expected.values() if not row.wrong} - left_out
    assert [labels.name for labels in images] == sorted(known)

    places = {(row.name, row.label): line for line, row in expected.items() if not row.wrong}
    outcomes = {"absent": 0, "read": 0, "refused": 0, "unclear": 0}
    for labels in images:
        for i, label in enumerate(CLASSES):
            line = places.get((labels.name, label))
            row = expected[line] if line else Reading(False, labels.name, label)
            present = row.bad_runs or row.pixels is not None
            assert [place.line for place in labels.rows[i]] == ([line] if present else [])
            try:
                found = list(as_spans(table.runs(labels, i)))
            except RowError as error:
                assert row.bad_runs or row.unclear, (lines[error.line - 1], error)
                assert error.line == line and error.reason
                outcomes["unclear" if row.unclear and not row.bad_runs else "refused"] += 1
            else:
                assert not row.bad_runs, lines[(line or 1) - 1]
                assert (paint(found) if found else None) == row.pixels, lines[(line or 1) - 1]
                outcomes["read" if found else "absent"] += 1
    assert outcomes["read"] > 1500 and outcomes["refused"] > 400 and len(rejected) > 800, outcomes


def as_spans(runs: tuple[Iterable[int], Iterable[int]]) -> Iterator[tuple[int, int]]:
    """Start and end of each run, which must be ascending, disjoint and within the image."""
    free = 0
    for start, end in zip(*runs, strict=True):
        assert free <= start < end <= PIXELS
        free = end
        yield int(start), int(end)
