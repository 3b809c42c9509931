"""Files that are either whole or not there, whatever dies while they are written."""

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


PATIENCE_S = (1, 2, 4, 8, 15, 30)
"""Waits between tries of `patiently`."""


def patiently(do: Callable[[], T]) -> T:
    """Call `do`, and call it again for a minute while it cannot write: a file server that hiccups, or a disk that
    somebody is about to clear, must not cost a night. Raises CloudsegError, the last one, and Lost at once."""
    for wait in (*PATIENCE_S, None):
        try:
            return do()
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
    """Give a temporary path beside `path` to write to; on leaving, what was written is on disk and bears the name.

    Without `sync` a power cut may lose it. The temporary name ends like `path`'s. If anything goes wrong, `path` is as
    it was. Raises CloudsegError if the file cannot be written.
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
    """Replace `path` by `content`. Raises CloudsegError if it cannot be written."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any, sync: bool = True) -> None:
    """Replace `path` by `value` as JSON. Raises CloudsegError if it cannot be written."""
    write(path, (json.dumps(value, indent=2) + "\n").encode(), sync)


def create(path: Path, content: bytes) -> bool:
    """Write `path` unless it is there; whether this call did. Of many at once exactly one does."""
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

    Raises CloudsegError if it cannot be written.
    """
    with replacing(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def clear_leftovers(folder: Path, of: str) -> None:
    """Delete the temporary files, of names that match the expression `of`, whose process on this machine is gone."""
    pattern = re.compile(rf"\.tmp-(.+)-(\d+)-\d+\.(?:{of})")
    for path in folder.glob(".tmp-*"):
        match = pattern.fullmatch(path.name)
        if match and match[1] == socket.gethostname() and not born(int(match[2])):
            path.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> CloudsegError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return CloudsegError(
        f"{path} cannot be written: {reason}. What is finished is kept; when there is room (see df and your quota), "
        "the same command goes on from here"
    )


def _temporary(path: Path) -> Path:
    return path.with_name(f".tmp-{socket.gethostname()}-{os.getpid()}-{threading.get_native_id()}.{path.name}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def born(process: int) -> str:
    """When a process of this machine was started, in the kernel's ticks; "" if it runs no more."""
    try:
        # The name, in parentheses, may hold anything.
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # A zombie is dead, and only not yet waited for by its parent.
    return "" if state == "Z" else fields[18]
