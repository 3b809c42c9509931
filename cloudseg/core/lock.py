"""Lock files that name their owner, so that a lock whose owner has ended can be taken over."""

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
from cloudseg.core.attempt import cloudseg_job
from cloudseg.core.errors import Lost, UsageError


@dataclasses.dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    host: str
    pid: int
    born: str
    """Start time of the process in clock ticks since boot; it distinguishes processes with the same id."""
    user: str
    job: str | None
    """Slurm job id; None outside of a job of cloudseg."""
    attempt: str
    """Key of the attempt; "" if the lock is not held by ranks."""

    @classmethod
    def current(cls, attempt: str = "") -> Owner:
        """This process as an owner."""
        pid = os.getpid()
        return cls(
            socket.gethostname(), pid, atomic.process_start(pid), getpass.getuser(), cloudseg_job(os.environ), attempt
        )

    def has_ended(self) -> bool | None:
        """Whether the process has ended; None if this machine cannot tell."""
        if self.job is not None and self.job == cloudseg_job(os.environ):
            return True  # this job was requeued; Slurm runs a job once at a time
        if self.host == socket.gethostname():
            return atomic.process_start(self.pid) != self.born
        return None

    def __str__(self) -> str:
        job = f"job {self.job}, " if self.job else ""
        return f"{job}process {self.pid} of {self.user} on {self.host}"


@dataclasses.dataclass(frozen=True)
class Lock:
    """A lock file that this process holds."""

    file: Path
    owner: Owner

    def check(self) -> None:
        """Raises Lost if another process has taken the lock over, for example while this node was disconnected."""
        if (holder := owner(self.file)) != self.owner:
            raise Lost(f"{self.file} now belongs to {holder or 'nobody'}; this process must not write any more")


@contextlib.contextmanager
def hold(file: Path, attempt: str, silent: Callable[[Owner], bool], refusal: str) -> Iterator[Lock]:
    """Context manager: holds the lock `file`. A lock is taken over if its owner has ended or `silent(owner)` is true.

    `silent` is called only if this machine cannot tell whether the owner has ended. Raises UsageError, which names the
    owner and ends with `refusal`, if another process holds the lock.
    """
    lock = Lock(file, Owner.current(attempt))
    content = json.dumps(dataclasses.asdict(lock.owner), indent=2).encode()
    while not atomic.with_retries(lambda: atomic.create(file, content)):
        holder = owner(file)
        if holder is None:
            continue  # its owner released it in this moment
        ended = holder.has_ended()
        if ended is None:
            ended = silent(holder)
        if not ended:
            raise UsageError(f"{holder} is at work here ({file}); {refusal}")
        _remove(file, holder)
    try:
        yield lock
    finally:
        _remove(file, lock.owner)


def _remove(file: Path, holder: Owner) -> None:
    """Delete `file` if `holder` still holds it; another process may have taken it over in this moment."""
    with contextlib.suppress(FileNotFoundError), file.open("r+b") as handle:
        # Processes that want to remove this file wait here; the second one finds no file or another owner. The kernel
        # releases the flock of a dead process. On a file system without flock one of two processes may raise Lost.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if owner(file) == holder:
            file.unlink()


def unchanged_for(seconds: float, read: Callable[[], object]) -> bool:
    """Whether `read()` returns the same value for this many seconds; returns False at the first change."""
    first, deadline = read(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(0.5, seconds))
        if read() != first:
            return False
    return True


def owner(file: Path) -> Owner | None:
    """The owner of the lock `file`; None if the file does not exist. Raises UsageError if it is no lock file."""
    try:
        return Owner(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise UsageError(f"{file} is not a lock file of cloudseg; if nothing is at work here, delete it") from None
