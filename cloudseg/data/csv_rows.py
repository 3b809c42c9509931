"""Rows of a CSV file, one a line even within quotes, with their places in the file."""

from __future__ import annotations

import codecs
import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """Where a row stands in its table: its line, from 1, and its first byte and length in bytes without line end."""

    line: int
    offset: int
    length: int


def rows(file: Iterable[bytes], watch: Callable[[bytes], None] = lambda line: None) -> Iterator[tuple[Row, bytes]]:
    """Place and bytes of each row, without line end and byte order mark, blank lines skipped; `watch` is shown every
    byte of the file."""
    offset = 0
    for number, line in enumerate(file, 1):
        watch(line)
        content = line.rstrip(b"\r\n")
        mark = len(codecs.BOM_UTF8) if number == 1 and content.startswith(codecs.BOM_UTF8) else 0
        if len(content) > mark:
            yield Row(number, offset + mark, len(content) - mark), content[mark:]
        offset += len(line)


def split_row(line: bytes) -> list[str]:
    """The fields of a row of a CSV file, without line end; bytes that are not UTF-8 come out as escapes like \\xff.

    Raises csv.Error for quotes or carriage returns where there must be none.
    """
    text = line.decode(errors="backslashreplace")
    if "\r" in text:
        raise csv.Error("a carriage return stands in the middle of the row")
    if '"' not in text:
        return text.split(",")
    csv.field_size_limit(sys.maxsize)
    return next(csv.reader([text], strict=True))


def printable(text: str) -> str:
    """A text from a file for a terminal: control characters and what is no text as escapes like \\x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """A text from a table for a message, of which a damaged table may hold megabytes."""
    return f'"{printable(text if len(text) <= 40 else text[:37] + "...")}"'
