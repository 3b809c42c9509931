"""One start of a job's ranks: the folder where they meet, show that they live, and say why they ended.

RUN/jobs/attempts/KEY/ holds rendezvous.json while they meet, rank-N.json while rank N lives, `stop` once a
rank was asked to stop, and end-N.json when rank N ended for another reason than being done. Whoever starts the ranks
reads the ends and removes the folder. The folder is its owner's alone: what stands in it decides whom a rank talks to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import shutil
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudseg.core import atomic

VARIABLE = "CLOUDSEG_ATTEMPT"
"""The environment variable that tells ranks their attempt's key."""

OWN_JOB = "CLOUDSEG_JOB"
"""The environment variable in which the scripts of cloudseg's batch jobs leave the id of their job."""

STOPPED, LOST, FAILED = "stopped", "lost", "failed"
"""How a rank may end: on a signal with the state saved; because another rank died or hangs; for good."""


@dataclasses.dataclass(frozen=True)
class End:
    """Why a rank ended."""

    rank: int
    host: str
    how: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Attempt:
    folder: Path

    @classmethod
    def of(cls, jobs: Path, key: str) -> Attempt:
        """The attempt called `key` of the run whose jobs folder is `jobs`; makes its folder."""
        folder = jobs / "attempts" / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return cls(folder)

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def rendezvous(self) -> Path:
        return self.folder / "rendezvous.json"

    def address(self, rank: int) -> Path:
        """Whence a rank will call while all meet."""
        return self.folder / f"address-{rank}.json"

    @property
    def stop(self) -> Path:
        """Is there once a rank was asked to stop: then all are to."""
        return self.folder / "stop"

    def heartbeat(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.json"

    def addresses(self) -> set[str]:
        return {table["address"] for table in self._tables("address").values()}

    def heartbeats(self) -> dict[int, dict[str, Any]]:
        """What each rank that has started last said of itself, by rank."""
        return {int(name): table for name, table in self._tables("rank").items()}

    def reached(self) -> int:
        """The furthest step at which a rank was seen; 0 if none was."""
        return max((table["step"] for table in self.heartbeats().values()), default=0)

    def end(self, rank: int, how: str, reason: str) -> None:
        """Leave why this rank ends, unless it said so before: the first reason is the cause."""
        text = json.dumps(dataclasses.asdict(End(rank, socket.gethostname(), how, reason)))
        # A full disk must not hide the reason, which is printed too.
        with contextlib.suppress(Exception):
            atomic.create(self.folder / f"end-{rank}.json", text.encode())

    def ends(self) -> list[End]:
        """Of all ranks that left a reason, in order of rank."""
        return [End(**table) for _, table in sorted(self._tables("end").items(), key=lambda item: int(item[0]))]

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tables(self, kind: str) -> dict[str, dict[str, Any]]:
        found = {}
        for path in self.folder.glob(f"{kind}-*.json"):
            # Another node's file system may still show a name whose file has just been replaced.
            with contextlib.suppress(OSError, ValueError):
                found[path.stem.removeprefix(f"{kind}-")] = json.loads(path.read_text())
        return found


def new_key(environ: Mapping[str, str]) -> str:
    """A key that no other start has, and nobody guesses; in a job of ours it begins with `key_prefix`."""
    return f"{key_prefix(environ) or 'local-'}{uuid.uuid4().hex}"


def key_prefix(environ: Mapping[str, str]) -> str | None:
    """How the keys of all starts of this job begin; None outside of a job of ours."""
    return f"{environ['SLURM_JOB_ID']}-" if own_job(environ) else None


def own_job(environ: Mapping[str, str]) -> str | None:
    """The Slurm job that this process is part of, if cloudseg submitted it, as Slurm's commands take and print it.

    None in a job of the user's, as a JupyterHub, salloc or `srun --pty` shell: it is not ours to requeue or cancel, and
    holds more than one of our commands.
    """
    job = environ.get("SLURM_JOB_ID")
    return this_job(environ) if job and environ.get(OWN_JOB) == job else None


def this_job(environ: Mapping[str, str]) -> str | None:
    """The Slurm job around this process, whoever submitted it; None outside of one. A task of an array may bear the
    array's own id, which would name all of them."""
    if "SLURM_ARRAY_TASK_ID" in environ and "SLURM_ARRAY_JOB_ID" in environ:
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID")


def typed_in_a_step(environ: Mapping[str, str]) -> bool:
    """Whether this process was typed in the shell of `srun --pty`, and is no task of that step. What an srun within
    that shell starts inherits its variables, but no terminal."""
    if "SLURM_PTY_PORT" not in environ:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def own_key(environ: Mapping[str, str]) -> str:
    """The key that this process was given, or that all ranks of a hand-started srun derive alike."""
    if VARIABLE in environ:
        return environ[VARIABLE]
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
    # A step of one task may be a shell or a notebook, in which the user starts more than one command.
    alone = environ.get("SLURM_STEP_TASKS_PER_NODE", "1") == "1" or typed_in_a_step(environ)
    if "SLURM_STEP_ID" in environ and not alone:
        return "-".join(environ.get(name, "0") for name in names)
    return f"process-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def own(jobs: Path) -> Attempt:
    """The attempt that this process is a rank of."""
    return Attempt.of(jobs, own_key(os.environ))


def remove_earlier(jobs: Path, environ: Mapping[str, str]) -> None:
    """Remove what earlier starts of this job of ours left when their node died: it never runs twice at once."""
    if prefix := key_prefix(environ):
        for folder in (jobs / "attempts").glob(f"{glob.escape(prefix)}*"):
            shutil.rmtree(folder, ignore_errors=True)
