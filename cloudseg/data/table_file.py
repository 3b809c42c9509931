"""Opens the file of a table: plain, or unpacked from a gzip or zip file. Other kinds of files are refused by name."""

from __future__ import annotations

import codecs
import gzip
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO

from cloudseg.core.errors import UsageError

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
KINDS = (
    (GZIP, "a gzip file", "unpack it with gunzip"),
    (b"PK", "a zip file", "unpack it with unzip"),
    (b"BZh", "a bzip2 file", "unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it with 7z x"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it with unrar x"),
    (b"PAR1", "a Parquet file", "write it as CSV: pandas.read_parquet(FILE).to_csv(NEW, index=False)"),
    (b"ARROW1", "a Feather file", "write it as CSV: pandas.read_feather(FILE).to_csv(NEW, index=False)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "give the CSV file that it was made from"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)", "give the CSV file itself: Excel cuts long masks"),
    (b"SQLite format 3\0", "an SQLite database", "write the table as CSV"),
    (b"%PDF", "a PDF file", "give the CSV file"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the CSV file"),
    (b"\x89PNG", "a PNG picture", "give the CSV file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "get the file with git lfs pull"),
    (codecs.BOM_UTF32_LE, "UTF-32 text", "write it as UTF-8: iconv -f UTF-32 -t UTF-8 FILE > NEW"),
    (codecs.BOM_UTF16_LE, "UTF-16 text", "write it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE > NEW"),
    (codecs.BOM_UTF16_BE, "UTF-16 text", "write it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE > NEW"),
)
"""Kinds of files that are not tables: first bytes, name, and what to do."""
DAMAGED = (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)
_HEAD_BYTES = 512


def unpacked(path: Path) -> BinaryIO | None:
    """Unpack a gzip or zip file into an unnamed temporary file in $TMPDIR or /tmp; returns None for a plain file.

    The temporary file is gone when it is closed or its process dies. Raises UsageError if the file cannot be read or
    unpacked, or if its content is not text.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: give the CSV file itself")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is a pipe or a device: write the table to a file first, as it is read twice")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if not head.startswith((GZIP, ZIP)):
                _refuse_other_kinds(head, str(path))
                return None
            file.seek(0)
            return _gunzipped(file, path) if head.startswith(GZIP) else _unzipped(file, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def opened(path: Path) -> BinaryIO:
    """Open the plain bytes of a table's file. Raises UsageError as `unpacked` does."""
    file = unpacked(path)
    try:
        return file or path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _gunzipped(file: IO[bytes], path: Path) -> BinaryIO:
    with gzip.open(file) as content:
        return _copied(content, path, f"the content of {path}")


def _unzipped(file: IO[bytes], path: Path) -> BinaryIO:
    try:
        with zipfile.ZipFile(file) as archive:
            member = _table_member(archive, path)
            with archive.open(member) as content:
                return _copied(content, path, f"{member} in {path}")
    except RuntimeError as error:  # a password
        raise UsageError(f"{path} cannot be unpacked: {error}; unpack it with unzip") from error
    except DAMAGED as error:
        raise _damaged(path, error) from error


def _table_member(archive: zipfile.ZipFile, path: Path) -> str:
    """Name of the only CSV file of an archive. Raises UsageError if there is none, or more than one."""
    # macOS adds a folder to its archives.
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names or "content.xml" in names:
        raise UsageError(
            f"{path} is a spreadsheet or document of an office program, not CSV: give the CSV file itself, as a "
            "spreadsheet cuts long masks"
        )
    tables = [name for name in names if name.lower().endswith(".csv")] or names
    if len(tables) != 1:
        content = (
            f"{len(tables)} files ({', '.join(tables[:5])}{', ...' if len(tables) > 5 else ''})"
            if tables
            else "no file"
        )
        raise UsageError(f"{path} holds {content}, not one CSV file: unpack it with unzip, and give the table itself")
    return tables[0]


def _copied(content: IO[bytes] | gzip.GzipFile, path: Path, name: str) -> BinaryIO:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        shutil.copyfileobj(content, copy, 1 << 20)
        copy.flush()
    except DAMAGED as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be unpacked into {tempfile.gettempdir()}: {error.strerror}; unpack it yourself on a disk "
            "with enough space, or name a folder on such a disk: export TMPDIR=DIR"
        ) from error
    copy.seek(0)
    _refuse_other_kinds(copy.read(_HEAD_BYTES), name)
    copy.seek(0)
    return copy


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is damaged or incomplete: {error}; download it again")


def _refuse_other_kinds(head: bytes, name: str) -> None:
    for start, kind, advice in KINDS:
        if head.startswith(start):
            raise UsageError(f"{name} is {kind}: {advice}")
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if head[257:262] == b"ustar":
        raise UsageError(f"{name} is a tar archive: unpack it with tar xf")
    if text.startswith(b"<"):
        raise UsageError(f"{name} is a web page (HTML or XML), perhaps a login page: download the CSV file again")
    if text.startswith((b"{", b"[")):
        raise UsageError(f"{name} is JSON: write the table as CSV")
    if b"/annex/objects/" in text:
        raise UsageError(f"{name} is a git-annex pointer, not the file itself: get the file with git annex get")
    if 4 * head.count(b"\0") > len(head) > 0:
        raise UsageError(f"{name} is a binary file or UTF-16 text: write the table as CSV in UTF-8")
