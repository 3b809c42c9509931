"""Position of a process among the ranks, from the environment variables that its launcher sets. No Horovod."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

from cloudseg.core import variables
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

    Raises UsageError if the ranks are not distributed to the nodes in blocks, or if a variable is no number.
    """
    rank = variables.whole_number(environ, "CLOUDSEG_RANK", least=0)
    if rank is not None:
        size = variables.whole_number(environ, "CLOUDSEG_SIZE")
        if size is None or rank >= size:
            raise UsageError("CLOUDSEG_RANK is set by the launcher of ranks, with a size; type: unset CLOUDSEG_RANK")
        return Placement(rank, rank, node=0, tasks_per_node=(size,))
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

    Raises UsageError if CLOUDSEG_RANKS is no number, or if the batches cannot be distributed evenly to `size` ranks.
    """
    planned = variables.whole_number(environ, "CLOUDSEG_RANKS") or size
    if planned % size:
        raise UsageError(
            f"CLOUDSEG_RANKS={planned}: the batches of {planned} ranks cannot be distributed evenly to {size}"
        )
    return planned


def signal_lead_s(environ: Mapping[str, str]) -> float:
    """Seconds before the walltime at which Slurm's signal comes, from CLOUDSEG_LEAD_S of the job's script.

    Infinite without it. Raises UsageError if it is no positive number.
    """
    return variables.seconds(environ, "CLOUDSEG_LEAD_S") or math.inf


def late_signal_warning(lead: float, validation_s: float, save_s: float) -> str:
    """Return a warning if Slurm's signal before the walltime may leave too little time to save, else "".

    The signal may arrive at the start of validation, which takes `validation_s`; saving takes `save_s`, or twice as
    long on a busy file system. `lead`: see `signal_lead_s`. All are in seconds.
    """
    need = validation_s + 2 * save_s
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
    asked = variables.whole_number(environ, "CLOUDSEG_FEED_WORKERS", least=0)
    return min(cpus - 1, MAX_FEED_WORKERS) if asked is None else asked


def threads_per_rank(environ: Mapping[str, str], cpus: int, local_size: int) -> int:
    """Number of CPU threads of one rank, from the `cpus` that this process may run on.

    Where Slurm binds tasks, `cpus` is the rank's share; elsewhere all ranks of the node share `cpus`. Ranks that
    `cloudseg.job.launcher` starts as processes may all be within one Slurm task.
    """
    # Not CLOUDSEG_SIZE, which jobs/preprocess.slurm takes as the size of images.
    asked = 0 if "CLOUDSEG_RANK" in environ else int(environ.get("SLURM_CPUS_PER_TASK", 0))
    if asked and cpus == asked:
        return cpus
    share = max(1, cpus // local_size)
    return min(asked, share) if asked else share
