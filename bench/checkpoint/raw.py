"""The baseline: bytes that are there, onto the disk and under their name, with nothing done to them."""

from __future__ import annotations

import os
import time
from pathlib import Path

REST_S = 2.0


def write(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; on return the disk has it."""
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def forget(path: Path) -> None:
    """Take `path`, which the disk has, out of the page cache: the next reading is from the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rest() -> None:
    """Before a write that is timed: a disk takes the next bytes several times as fast right after others as it does
    out of rest, and what it still does for the last write would count for this one."""
    os.sync()
    time.sleep(REST_S)
