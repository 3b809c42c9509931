"""Standard output and standard error that may lose their reader: `| head` has read enough, or a terminal was closed.

A command's work does not depend on its reader: it goes on, what it prints is dropped, and the exit code is that of the
work. A command that prints until something happens asks `reader_leaves()`.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def drop_unread() -> None:
    """From now on, what this process prints to a closed pipe or terminal is dropped without an error."""
    sys.stdout, sys.stderr = _dropping(sys.stdout), _dropping(sys.stderr)


def reader_leaves(seconds: float) -> bool:
    """Waits this long, or until nobody can read standard output any more; returns whether that is so."""
    try:
        return _is_closed(sys.stdout.fileno(), seconds)
    except io.UnsupportedOperation:  # no file: a program that calls us collects the text
        time.sleep(seconds)
        return False


def spare_children() -> None:
    """Has programs that are started from now on write to /dev/null where nobody reads: SIGPIPE would end them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and _is_closed(stream.fileno()):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


class _Dropping(io.FileIO):
    """A file descriptor of this process; bytes that nobody can read any more count as written."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # A broken disk answers EIO too; only of a terminal does it say that nobody is there.
            hung_up = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
            if not hung_up and not isinstance(error, BrokenPipeError):
                raise
            return memoryview(data).nbytes


def _dropping(stream: TextIO | None) -> TextIO:
    """The same stream on a `_Dropping` file. A stream without a file stays as it is; one that was closed when the
    process started (`>&-`) becomes /dev/null."""
    if stream is None:
        return Path(os.devnull).open("w")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    raw = _Dropping(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),  # as Python does with and without -u
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _is_closed(descriptor: int, seconds: float = 0) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)  # whether an error or a hang-up occurs is always reported
    return bool(poll.poll(1000 * seconds))
