"""Baseline: a plain write of bytes to the disk, with fsync and rename."""

from __future__ import annotations

import os
import time
from pathlib import Path

REST_S = 2.0


def write(path: Path, content: bytes) -> None:
    """Replace the content of `path`; on return it is on the disk."""
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def forget(path: Path) -> None:
    """Drop `path` from the page cache, so that the next read is from the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rest() -> None:
    """Let the disk become idle before a timed write. A busy disk is several times faster than an idle one, and pending
    writes would be counted."""
    os.sync()
    time.sleep(REST_S)
