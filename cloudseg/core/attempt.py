"""An attempt: one start of all ranks of a stage. Its folder holds the rendezvous, the heartbeats and the end reasons.

RUN/jobs/attempts/KEY/ holds rendezvous.json during the rendezvous, the heartbeat rank-N.json while rank N runs, `stop`
once a rank has received a stop signal, and end-N.json if rank N ended before its work was done. The launcher reads the
end reasons and removes the folder. Only its owner can read or write the folder, because the files in it decide which
address a rank connects to.
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

KEY_VARIABLE = "CLOUDSEG_ATTEMPT"
"""Environment variable with the key of the attempt that a rank belongs to."""

JOB_VARIABLE = "CLOUDSEG_JOB"
"""Environment variable that the batch scripts of cloudseg set to the id of their job."""

STOPPED, LOST, FAILED = "stopped", "lost", "failed"
"""How a rank can end: stopped by a signal with its state saved; lost another rank, which died or hangs; failed."""


@dataclasses.dataclass(frozen=True)
class End:
    """Why a rank ended."""

    rank: int
    host: str
    how: str
    """STOPPED, LOST or FAILED."""
    reason: str


@dataclasses.dataclass(frozen=True)
class Attempt:
    """Paths and records in the folder of one attempt."""

    folder: Path

    @classmethod
    def of(cls, jobs: Path, key: str) -> Attempt:
        """The attempt with this `key` of the run whose jobs folder is `jobs`; creates its folder with mode 0700."""
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
        """File with the address from which a rank connects to the rendezvous server."""
        return self.folder / f"address-{rank}.json"

    @property
    def stop(self) -> Path:
        """File that exists once a rank has received a stop signal; all ranks then stop."""
        return self.folder / "stop"

    def heartbeat(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.json"

    def addresses(self) -> set[str]:
        """Addresses from which the ranks connect to the rendezvous server."""
        return {table["address"] for table in self._tables("address").values()}

    def heartbeats(self) -> dict[int, dict[str, Any]]:
        """The latest heartbeat of each rank that has started: rank -> content of its file."""
        return {int(name): table for name, table in self._tables("rank").items()}

    def last_step(self) -> int:
        """The largest step in the heartbeats; 0 without heartbeats."""
        return max((table["step"] for table in self.heartbeats().values()), default=0)

    def end(self, rank: int, how: str, reason: str) -> None:
        """Record why this rank ends, unless it has a record already: the first reason is the cause."""
        text = json.dumps(dataclasses.asdict(End(rank, socket.gethostname(), how, reason)))
        # An error of a full disk must not replace the reason, which is printed too.
        with contextlib.suppress(Exception):
            atomic.create(self.folder / f"end-{rank}.json", text.encode())

    def ends(self) -> list[End]:
        """The recorded end reasons, sorted by rank."""
        return [End(**table) for _, table in sorted(self._tables("end").items(), key=lambda item: int(item[0]))]

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tables(self, kind: str) -> dict[str, dict[str, Any]]:
        """Content of the files KIND-N.json by N, as text."""
        tables = {}
        for path in self.folder.glob(f"{kind}-*.json"):
            # A network file system may list a file that another node has just replaced.
            with contextlib.suppress(OSError, ValueError):
                tables[path.stem.removeprefix(f"{kind}-")] = json.loads(path.read_text())
        return tables


def new_key(environ: Mapping[str, str]) -> str:
    """A unique key that cannot be guessed; in a job of cloudseg it begins with `key_prefix`."""
    return f"{key_prefix(environ) or 'local-'}{uuid.uuid4().hex}"


def key_prefix(environ: Mapping[str, str]) -> str | None:
    """Prefix of the keys of all attempts of this job; None outside of a job of cloudseg."""
    return f"{environ['SLURM_JOB_ID']}-" if cloudseg_job(environ) else None


def cloudseg_job(environ: Mapping[str, str]) -> str | None:
    """Id of the Slurm job around this process if cloudseg submitted it, in the form that Slurm's commands print.

    None in a job that the user started, for example a JupyterHub, salloc or `srun --pty` shell: cloudseg must not
    requeue or cancel it, and several commands may run in it.
    """
    job = environ.get("SLURM_JOB_ID")
    return slurm_job(environ) if job and environ.get(JOB_VARIABLE) == job else None


def slurm_job(environ: Mapping[str, str]) -> str | None:
    """Id of the Slurm job around this process, no matter who submitted it; None outside of Slurm.

    A task of an array gets the form ARRAY_TASK, because SLURM_JOB_ID of one of its tasks is the id of the whole array.
    """
    if "SLURM_ARRAY_TASK_ID" in environ and "SLURM_ARRAY_JOB_ID" in environ:
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID")


def typed_in_pty_shell(environ: Mapping[str, str]) -> bool:
    """Whether the user typed this command in a shell of `srun --pty`, so that the process is no task of a step.

    Processes that an srun in that shell starts have the same variables, but no terminal.
    """
    if "SLURM_PTY_PORT" not in environ:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def current_key(environ: Mapping[str, str]) -> str:
    """The key of the attempt that this process belongs to: from the environment, or from the ids of its Slurm step.

    The second is for ranks that a user starts with srun; all of them compute the same key.
    """
    if KEY_VARIABLE in environ:
        return environ[KEY_VARIABLE]
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
    # A step with one task may be a shell or a notebook, in which the user starts several commands.
    alone = environ.get("SLURM_STEP_TASKS_PER_NODE", "1") == "1" or typed_in_pty_shell(environ)
    if "SLURM_STEP_ID" in environ and not alone:
        return "-".join(environ.get(name, "0") for name in names)
    return f"process-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def current(jobs: Path) -> Attempt:
    """The attempt that this process belongs to, of the run whose jobs folder is `jobs`."""
    return Attempt.of(jobs, current_key(os.environ))


def remove_earlier(jobs: Path, environ: Mapping[str, str]) -> None:
    """Remove folders of earlier attempts of this job, which remain if their node died. Slurm runs a job once at a time.

    Does nothing outside of a job of cloudseg.
    """
    if prefix := key_prefix(environ):
        for folder in (jobs / "attempts").glob(f"{glob.escape(prefix)}*"):
            shutil.rmtree(folder, ignore_errors=True)
