"""Where a process stands among the ranks, read from what its starter put into the environment. No Horovod."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

from cloudseg.core.attempt import typed_in_a_step
from cloudseg.core.errors import UsageError

MOST_FEED_WORKERS = 6
"""Each makes some 600 samples of 320x480 a second, about what three V100 take."""


@dataclasses.dataclass(frozen=True)
class Placement:
    rank: int
    local_rank: int
    node: int
    tasks_per_node: tuple[int, ...]
    """Ranks on each node; nodes may hold different numbers of them."""

    @property
    def size(self) -> int:
        return sum(self.tasks_per_node)

    @property
    def local_size(self) -> int:
        return self.tasks_per_node[self.node]

    @property
    def cross_rank(self) -> int:
        """Horovod's number of this node among those that have this local rank."""
        return sum(tasks > self.local_rank for tasks in self.tasks_per_node[: self.node])

    @property
    def cross_size(self) -> int:
        return sum(tasks > self.local_rank for tasks in self.tasks_per_node)


def read(environ: Mapping[str, str]) -> Placement | None:
    """The placement that `cloudseg.job.launcher` or a plain srun gives, None for a process on its own.

    Raises UsageError if the ranks were not dealt to the nodes in blocks.
    """
    if "CLOUDSEG_RANK" in environ:
        rank = int(environ["CLOUDSEG_RANK"])
        return Placement(rank, rank, node=0, tasks_per_node=(int(environ["CLOUDSEG_SIZE"]),))
    # A batch script has SLURM_PROCID too, but only a step that srun started has SLURM_STEP_TASKS_PER_NODE
    # and a rank's own SLURM_LOCALID beside it; the batch step's id is not a small number.
    if "SLURM_STEP_TASKS_PER_NODE" not in environ or "SLURM_PROCID" not in environ or typed_in_a_step(environ):
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
    """Slurm's run-length form: '2(x3),1' -> (2, 2, 2, 1)."""
    out: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise UsageError(f"SLURM_STEP_TASKS_PER_NODE={text}: not of the form 4(x2),1")
        out += [int(match[1])] * int(match[2] or 1)
    return tuple(out)


def planned_ranks(environ: Mapping[str, str], size: int) -> int:
    """How many ranks' batches make a step: `size`, unless CLOUDSEG_RANKS says that this is an elastic job that was
    meant to have so many. Raises UsageError if they cannot be dealt evenly to `size`."""
    planned = int(environ.get("CLOUDSEG_RANKS") or size)
    if planned % size:
        raise UsageError(f"CLOUDSEG_RANKS={planned}: the work of {planned} ranks cannot be dealt evenly to {size}")
    return planned


def short_of_time(environ: Mapping[str, str], validation_s: float, save_s: float) -> str:
    """A warning if the signal that announces the end of a job may come too late, else "". It may come when validation
    begins, and saving takes longer on a busy file system. CLOUDSEG_LEAD_S is what the job's script asked for."""
    need, lead = validation_s + 2 * save_s, float(environ.get("CLOUDSEG_LEAD_S") or math.inf)
    if need <= lead:
        return ""
    return (
        f"warning: the signal comes {lead:.0f} s before the end of the job, and to stop may take {need:.0f} s; have it "
        f'sent earlier: sbatch = ["--signal=USR2@{2 * need:.0f}"] in the site file'
    )


def feed_workers(environ: Mapping[str, str], cpus: int) -> int:
    """Processes that make batches for one rank, which has `cpus` for itself: one of them is for training.

    CLOUDSEG_FEED_WORKERS says otherwise. Raises UsageError if it is no number.
    """
    asked = environ.get("CLOUDSEG_FEED_WORKERS", "")
    if asked and not asked.isdecimal():
        raise UsageError(f"CLOUDSEG_FEED_WORKERS={asked}: must be a whole number, 0 for none")
    return int(asked) if asked else min(cpus - 1, MOST_FEED_WORKERS)


def threads_per_rank(environ: Mapping[str, str], cpus: int, local_size: int) -> int:
    """CPU threads for one rank, of the `cpus` this process may run on.

    Where Slurm binds tasks, `cpus` is the rank's own share already; elsewhere all ranks of the node share them. Ranks
    that `cloudseg.job.launcher` started as processes may lie within one task of a user's own job.
    """
    asked = 0 if "CLOUDSEG_SIZE" in environ else int(environ.get("SLURM_CPUS_PER_TASK", 0))
    if asked and cpus == asked:
        return cpus
    share = max(1, cpus // local_size)
    return min(asked, share) if asked else share
