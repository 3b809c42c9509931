"""Position of a process among the ranks, from the environment variables that its launcher sets. No Horovod."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

from cloudseg.core.attempt import typed_in_pty_shell
from cloudseg.core.errors import UsageError

MAX_FEED_WORKERS = 6
"""Limit of worker processes per rank. Each makes about 600 samples of 320x480 per second, as many as three V100 use."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Position of a rank among all ranks and nodes."""

    rank: int
    local_rank: int
    """Index of the rank on its node."""
    node: int
    """Index of the node."""
    tasks_per_node: tuple[int, ...]
    """Number of ranks on each node; it may differ between nodes."""

    @property
    def size(self) -> int:
        return sum(self.tasks_per_node)

    @property
    def local_size(self) -> int:
        return self.tasks_per_node[self.node]

    @property
    def cross_rank(self) -> int:
        """Index of this node among the nodes that have this local rank (Horovod's term)."""
        return sum(tasks > self.local_rank for tasks in self.tasks_per_node[: self.node])

    @property
    def cross_size(self) -> int:
        return sum(tasks > self.local_rank for tasks in self.tasks_per_node)


def read(environ: Mapping[str, str]) -> Placement | None:
    """Read the placement that `cloudseg.job.launcher` or srun sets; None for a single process.

    Raises UsageError if the ranks are not distributed to the nodes in blocks.
    """
    if "CLOUDSEG_RANK" in environ:
        rank = int(environ["CLOUDSEG_RANK"])
        return Placement(rank, rank, node=0, tasks_per_node=(int(environ["CLOUDSEG_SIZE"]),))
    # A batch script has SLURM_PROCID too, but only a job step of srun has SLURM_STEP_TASKS_PER_NODE.
    if "SLURM_STEP_TASKS_PER_NODE" not in environ or "SLURM_PROCID" not in environ or typed_in_pty_shell(environ):
        return None
    rank, local_rank = int(environ["SLURM_PROCID"]), int(environ["SLURM_LOCALID"])
    node = int(environ["SLURM_NODEID"])
    tasks = parse_tasks_per_node(environ["SLURM_STEP_TASKS_PER_NODE"])
    if rank != sum(tasks[:node]) + local_rank:
        raise UsageError(
            f"rank {rank} is task {local_rank} of node {node}: ranks must fill one node after the other; "
            "start with srun --distribution=block"
        )
    return Placement(rank, local_rank, node, tasks)


def parse_tasks_per_node(text: str) -> tuple[int, ...]:
    """Parse Slurm's run-length form: '2(x3),1' -> (2, 2, 2, 1). Raises UsageError for any other form."""
    out: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise UsageError(f"SLURM_STEP_TASKS_PER_NODE={text}: not of the form 4(x2),1")
        out += [int(match[1])] * int(match[2] or 1)
    return tuple(out)


def planned_ranks(environ: Mapping[str, str], size: int) -> int:
    """Number of ranks whose batches make a step: `size`, or CLOUDSEG_RANKS in an elastic job that started with fewer.

    Raises UsageError if the batches cannot be distributed evenly to `size` ranks.
    """
    planned = int(environ.get("CLOUDSEG_RANKS") or size)
    if planned % size:
        raise UsageError(
            f"CLOUDSEG_RANKS={planned}: the batches of {planned} ranks cannot be distributed evenly to {size}"
        )
    return planned


def late_signal_warning(environ: Mapping[str, str], validation_s: float, save_s: float) -> str:
    """Return a warning if Slurm's signal before the walltime may leave too little time to save, else "".

    The signal may arrive at the start of validation, which takes `validation_s`; saving takes `save_s`, or twice as
    long on a busy file system. CLOUDSEG_LEAD_S is the time that the job's script asks for.
    """
    need, lead = validation_s + 2 * save_s, float(environ.get("CLOUDSEG_LEAD_S") or math.inf)
    if need <= lead:
        return ""
    return (
        f"warning: Slurm's signal comes {lead:.0f} s before the walltime, and stopping may take {need:.0f} s; ask for "
        f'an earlier signal in the site file: sbatch = ["--signal=USR2@{2 * need:.0f}"]'
    )


def feed_workers(environ: Mapping[str, str], cpus: int) -> int:
    """Number of worker processes that make batches for one rank with `cpus` CPUs, one of which is left for training.

    CLOUDSEG_FEED_WORKERS overrides it. Raises UsageError if that is not a whole number.
    """
    asked = environ.get("CLOUDSEG_FEED_WORKERS", "")
    if asked and not asked.isdecimal():
        raise UsageError(f"CLOUDSEG_FEED_WORKERS={asked}: must be a whole number, 0 for none")
    return int(asked) if asked else min(cpus - 1, MAX_FEED_WORKERS)


def threads_per_rank(environ: Mapping[str, str], cpus: int, local_size: int) -> int:
    """Number of CPU threads of one rank, from the `cpus` that this process may run on.

    Where Slurm binds tasks, `cpus` is the rank's share; elsewhere all ranks of the node share `cpus`. Ranks that
    `cloudseg.job.launcher` starts as processes may all be within one Slurm task.
    """
    asked = 0 if "CLOUDSEG_SIZE" in environ else int(environ.get("SLURM_CPUS_PER_TASK", 0))
    if asked and cpus == asked:
        return cpus
    share = max(1, cpus // local_size)
    return min(asked, share) if asked else share
