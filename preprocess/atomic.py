"""Files that are either whole or not there."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cloudseg.errors import CloudsegError

_LEFTOVER = re.compile(r"\.(?:shard-\d{5}-of-\d{5}\.(?:h5|json)|manifest\.json|rejected\.csv)\.tmp-(.+)-(\d+)")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; on leaving, what was written is on disk and bears the
    name.

    If anything goes wrong, `path` is as it was. Raises CloudsegError if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CloudsegError(
            f"{path} cannot be written: {reason}. What is finished is kept; when there is room (see df "
            "and your quota), the same command goes on from here"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Delete the temporary files of runs that are dead: those of this machine whose process is gone."""
    for path in folder.glob(".*.tmp-*"):
        match = _LEFTOVER.fullmatch(path.name)
        if match and match[1] == socket.gethostname() and not _alive(int(match[2])):
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
