"""Rows of a CSV file with their positions in the file. Every line is a row, also within quotes."""

from __future__ import annotations

import codecs
import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """Position of a row: line from 1, offset of the first byte, and length in bytes without the line end."""

    line: int
    offset: int
    length: int


def rows(file: Iterable[bytes], watch: Callable[[bytes], None] = lambda line: None) -> Iterator[tuple[Row, bytes]]:
    """Yield position and bytes of each row, without line end and byte order mark. Blank lines are skipped.

    `watch` is called with every line, so with every byte of the file.
    """
    offset = 0
    for number, line in enumerate(file, 1):
        watch(line)
        content = line.rstrip(b"\r\n")
        mark = len(codecs.BOM_UTF8) if number == 1 and content.startswith(codecs.BOM_UTF8) else 0
        if len(content) > mark:
            yield Row(number, offset + mark, len(content) - mark), content[mark:]
        offset += len(line)


def split_row(line: bytes) -> list[str]:
    """Split a row of a CSV file, without line end, into fields. Bytes that are not UTF-8 become escapes like \\xff.

    Raises csv.Error for misplaced quotes or carriage returns.
    """
    text = line.decode(errors="backslashreplace")
    if "\r" in text:
        raise csv.Error("there is a carriage return within the row")
    if '"' not in text:
        return text.split(",")
    csv.field_size_limit(sys.maxsize)
    return next(csv.reader([text], strict=True))


def printable(text: str) -> str:
    """Escape the control characters of a text for a terminal, as \\x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """Quote a field of a table for a message; a long one, as in a damaged table, is shortened to 40 characters."""
    return f'"{printable(text if len(text) <= 40 else text[:37] + "...")}"'
