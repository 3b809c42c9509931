"""Atomic writes: a file is either complete or absent, even if the process dies while it writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from cloudseg.core.errors import CloudsegError, Lost

T = TypeVar("T")


RETRY_WAITS_S = (1, 2, 4, 8, 15, 30)
"""Seconds that `with_retries` waits before each repetition."""


def with_retries(write: Callable[[], T]) -> T:
    """Call `write` and return its result; if it fails, repeat it for one minute.

    A file server that does not answer for some seconds, or a disk that is full for a moment, must not end a job.
    Raises the last error as CloudsegError; raises Lost at once.
    """
    for wait in (*RETRY_WAITS_S, None):
        try:
            return write()
        except Lost:
            raise
        except (CloudsegError, OSError) as error:
            if wait is None:
                raise CloudsegError(str(error)) from error
            print(f"warning: {error}; trying again in {wait} s", file=sys.stderr, flush=True)
            time.sleep(wait)
    raise AssertionError


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Context manager: yields a temporary path beside `path`; on exit the temporary file replaces `path`.

    The temporary name ends with the name of `path`. With `sync` the content is on disk before the rename; without it a
    power failure may lose the file. If the block fails, `path` is unchanged. Raises CloudsegError if the file cannot be
    written.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            _sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write(path: Path, content: bytes, sync: bool = True) -> None:
    """Replace the content of `path` by `content`. Raises CloudsegError if the file cannot be written."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any, sync: bool = True) -> None:
    """Replace the content of `path` by `value` as JSON. Raises CloudsegError if the file cannot be written."""
    write(path, (json.dumps(value, indent=2) + "\n").encode(), sync)


def create(path: Path, content: bytes) -> bool:
    """Write `path` unless it exists; returns whether this call wrote it. Of several concurrent calls one writes.

    Raises CloudsegError if the file cannot be written.
    """
    temporary = _temporary(path)
    try:
        temporary.write_bytes(content)
        _sync(temporary)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


def link(source: Path, path: Path) -> None:
    """Replace `path` by a hard link to `source`, or by a copy where the file system has no links.

    Raises CloudsegError if the file cannot be written.
    """
    with replacing(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def remove_temporary_files(folder: Path, of: str) -> None:
    """Delete temporary files in `folder` whose process ran on this machine and has ended.

    `of`: regular expression for the name of the file that the temporary file was to replace.
    """
    pattern = re.compile(rf"\.tmp-(.+)-(\d+)-\d+\.(?:{of})")
    for path in folder.glob(".tmp-*"):
        match = pattern.fullmatch(path.name)
        if match and match[1] == socket.gethostname() and not process_start(int(match[2])):
            path.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> CloudsegError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return CloudsegError(
        f"{path} cannot be written: {reason}. Finished files are kept; when there is room (see df and your quota), "
        "type the same command again to continue"
    )


def _temporary(path: Path) -> Path:
    return path.with_name(f".tmp-{socket.gethostname()}-{os.getpid()}-{threading.get_native_id()}.{path.name}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def process_start(process: int) -> str:
    """Start time of a process of this machine in clock ticks since boot, as text; "" if it has ended."""
    try:
        # The process name, in parentheses, may contain any character.
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # A zombie has ended; its parent has not read its exit code yet.
    return "" if state == "Z" else fields[18]
