"""Locks that outlive a crash: a file that names its owner, and a way to tell that the owner is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.core.attempt import own_job
from cloudseg.core.errors import Lost, UsageError


@dataclasses.dataclass(frozen=True)
class Owner:
    host: str
    pid: int
    born: str
    """When the process started, in the kernel's ticks: process ids are used again."""
    user: str
    job: str | None
    """Slurm's id."""
    attempt: str

    @classmethod
    def this(cls, attempt: str = "") -> Owner:
        pid = os.getpid()
        return cls(socket.gethostname(), pid, atomic.born(pid), getpass.getuser(), own_job(os.environ), attempt)

    def gone(self) -> bool | None:
        """Whether it is known to have ended; None where this machine cannot tell."""
        if self.job is not None and self.job == own_job(os.environ):
            return True  # a job that was requeued: it never runs twice at once
        if self.host == socket.gethostname():
            return atomic.born(self.pid) != self.born
        return None

    def __str__(self) -> str:
        job = f"job {self.job}, " if self.job else ""
        return f"{job}process {self.pid} of {self.user} on {self.host}"


@dataclasses.dataclass(frozen=True)
class Lock:
    file: Path
    owner: Owner

    def check(self) -> None:
        """Raises Lost if somebody has taken the lock over, as when this node was cut off for a while."""
        if (holder := owner(self.file)) != self.owner:
            raise Lost(f"{self.file} now belongs to {holder or 'nobody'}; this process may write no more")


@contextlib.contextmanager
def held(file: Path, attempt: str, silent: Callable[[Owner], bool], refusal: str) -> Iterator[Lock]:
    """Hold `file` while within. A lock whose owner is gone, or else is `silent`, is taken over.

    Raises UsageError, which begins with the owner and ends with `refusal`, if somebody else holds it.
    """
    lock = Lock(file, Owner.this(attempt))
    content = json.dumps(dataclasses.asdict(lock.owner), indent=2).encode()
    while not atomic.patiently(lambda: atomic.create(file, content)):
        holder = owner(file)
        if holder is None:
            continue  # it was given back just now
        gone = holder.gone()
        if gone is None:
            gone = silent(holder)
        if not gone:
            raise UsageError(f"{holder} is at work here ({file}); {refusal}")
        _remove(file, holder)
    try:
        yield lock
    finally:
        _remove(file, lock.owner)


def _remove(file: Path, holder: Owner) -> None:
    """Delete `file` if it still is `holder`'s, and not that of somebody who took it over in this moment."""
    with contextlib.suppress(FileNotFoundError), file.open("r+b") as handle:
        # All who would remove this very file wait here, and the second finds it gone or another's. The kernel gives a
        # dead process's up. Some file systems have none; then of two at the same instant one may be Lost.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if owner(file) == holder:
            file.unlink()


def unchanged_for(seconds: float, look: Callable[[], object]) -> bool:
    """Whether `look` gives the same all the while; ends early if not."""
    first, deadline = look(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(0.5, seconds))
        if look() != first:
            return False
    return True


def owner(file: Path) -> Owner | None:
    """Who holds the lock `file`; None if nobody does."""
    try:
        return Owner(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise UsageError(f"{file} is no lock of ours; if nothing is at work here, delete it") from None
