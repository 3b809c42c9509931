"""Standard output and standard error whose reader may disappear: `| head` exits, or a terminal is closed.

A command then continues, its output is dropped, and its exit code is unchanged. A command that prints until the user
stops it ends when `wait_for_closed_output()` returns true.
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


def ignore_closed_output() -> None:
    """From now on, output of this process to a closed pipe or terminal is dropped without an error."""
    sys.stdout, sys.stderr = _dropping(sys.stdout), _dropping(sys.stderr)


def wait_for_closed_output(seconds: float) -> bool:
    """Wait until standard output has no reader, but at most `seconds`; returns whether it has no reader."""
    try:
        return _is_closed(sys.stdout.fileno(), seconds)
    except io.UnsupportedOperation:  # standard output is no file; the caller of this process collects the text
        time.sleep(seconds)
        return False


def redirect_closed_output() -> None:
    """Redirect standard output and error without a reader to /dev/null, as SIGPIPE would end child processes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and _is_closed(stream.fileno()):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


class _Dropping(io.FileIO):
    """A file descriptor of this process; bytes without a reader count as written."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # A broken disk gives EIO too; only for a terminal does EIO mean that it was closed.
            hung_up = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
            if not hung_up and not isinstance(error, BrokenPipeError):
                raise
            return memoryview(data).nbytes


def _dropping(stream: TextIO | None) -> TextIO:
    """The same stream on a `_Dropping` file.

    A stream without a file is returned unchanged; None, a stream that was closed when the process started (`>&-`),
    becomes /dev/null.
    """
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
    """Whether the descriptor has no reader; waits at most `seconds` for that."""
    poll = select.poll()
    poll.register(descriptor, 0)  # poll always reports errors and hang-ups
    return bool(poll.poll(1000 * seconds))
