"""Site files: the partitions, limits, modules and links of a cluster, read from env/sites/NAME.toml."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cloudseg.core import config
from cloudseg.core.errors import UsageError
from cloudseg.slurm import durations

FOLDER = Path(__file__).resolve().parents[2] / "env" / "sites"
DEFAULT = "ruche"


@dataclasses.dataclass(frozen=True)
class Resources:
    """Resources that one kind of job requests."""

    partition: str
    time: str
    """Walltime in the format of sbatch: HH:MM:SS."""
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    gpus_per_node: int = 0
    gpu_type: str = ""
    """Type of GPU in Slurm's configuration, for example v100; "" for any."""
    mem: str = ""
    """Memory per node in the format of sbatch, for example 40G; "" for the partition's default."""
    sbatch: tuple[str, ...] | None = None
    """Further sbatch options of this kind of job; None for those of the site, see `Site.options`."""


@dataclasses.dataclass(frozen=True)
class Partition:
    """Limits of a partition per job; 0 and "" for unknown limits."""

    time: str = ""
    nodes: int = 0
    gpus_per_node: int = 0
    cpus_per_node: int = 0


@dataclasses.dataclass(frozen=True)
class Links:
    """Bandwidth (GB/s) and latency (microseconds) of an allreduce, inside a node and between nodes."""

    inside: float = 10.0
    inside_us: float = 10.0
    between: float = 10.0
    between_us: float = 10.0


@dataclasses.dataclass(frozen=True)
class Site:
    """The content of a site file."""

    train: Resources
    """Resources of a stage: one task per GPU."""
    evaluate: Resources
    preprocess: Resources
    description: str = ""
    modules: tuple[str, ...] = ()
    """Modules that env/activate.sh loads in every job."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """Environment variables that env/activate.sh exports in every job."""
    sbatch: tuple[str, ...] = ()
    """Further sbatch options of each kind of job that does not have its own, for example --hint=nomultithread."""
    srun: tuple[str, ...] = ()
    """Further srun options of every step."""
    account: str = ""
    """Command to type if the site charges jobs to a project, for example export SBATCH_ACCOUNT=PROJECT@v100."""
    compile: tuple[str, ...] = ()
    """sbatch options of the job in which `env/setup.sh --as-job` compiles Horovod; setup.sh reads this line."""
    compute_capability: str = ""
    """Of the site's GPUs, for example 7.0 of V100; `env/setup.sh --gpu` requires an nvcc that compiles for it."""
    gpus_per_user: int = 0
    """Maximum number of GPUs of all running jobs of a user; 0 for no limit."""
    partitions: dict[str, Partition] = dataclasses.field(default_factory=dict)
    links: Links = Links()

    def options(self, need: Resources) -> tuple[str, ...]:
        """The further sbatch options of a job that requests `need`: its own, or those of the site.

        Without `left_out`: a constraint or a quality of service for GPUs would keep a job without GPUs from starting.
        """
        if need.sbatch is not None:
            return need.sbatch
        left_out = self.left_out(need)
        return tuple(option for option in self.sbatch if option not in left_out)

    def left_out(self, need: Resources) -> tuple[str, ...]:
        """Options of the site that select nodes with GPUs, and that a job without GPUs does not get."""
        if need.sbatch is not None or need.gpus_per_node or not self.train.gpus_per_node:
            return ()
        return tuple(option for option in self.sbatch if _SELECTS_NODES.match(option))


_SELECTS_NODES = re.compile(
    r"--(constraint|qos|partition|gres|gpus|gpu-|reservation|nodelist|cpus-per-gpu|mem-per-gpu|ntasks-per-gpu|tres-)"
    r"|-[CqpGw]"
)
"""Start of the sbatch options that select nodes, their GPUs, or a quality of service for them."""


def check_limits(site: Site, need: Resources) -> None:
    """Raises UsageError if `need` exceeds limits of the site, so that Slurm would refuse the job or never start it.

    The message names all exceeded limits and the options that keep within them.
    """
    if not (faults := [*_exceeded_limits(site, need)]):
        return
    fits = _within_limits(site, need)
    changes = {
        f"--nodes {fits.nodes}": fits.nodes != need.nodes,
        f"--tasks-per-node {fits.tasks_per_node}": (fits.tasks_per_node, fits.gpus_per_node)
        != (need.tasks_per_node, need.gpus_per_node),
        f"--time {fits.time}": fits.time != need.time,
    }
    changed = " ".join(option for option, differs in changes.items() if differs)
    if any(_exceeded_limits(site, fits)):
        advice = "name another with --partition, or reduce the resources in the site file"
    else:
        advice = f"type: {changed}"
    if need.time != fits.time:
        advice += " (a stage that needs more time requeues itself and resumes)"
    raise UsageError(f"{'; '.join(faults)}; {advice}")


def _exceeded_limits(site: Site, need: Resources) -> Iterator[str]:
    """One sentence for each limit of the site that `need` exceeds."""
    gpus, limit = need.nodes * need.gpus_per_node, site.partitions.get(need.partition, Partition())
    if site.gpus_per_user and gpus > site.gpus_per_user:
        yield (
            f"{need.nodes} nodes x {need.gpus_per_node} GPUs are {gpus} GPUs, and this site limits a user to "
            f"{site.gpus_per_user} at a time"
        )
    requested = {
        "nodes": (need.nodes, limit.nodes),
        "GPUs per node": (need.gpus_per_node, limit.gpus_per_node),
        "CPUs per node": (need.tasks_per_node * need.cpus_per_task, limit.cpus_per_node),
    }
    for what, (number, maximum) in requested.items():
        if maximum and number > maximum:
            yield f"partition {need.partition} has {maximum} {what}, and {number} are requested"
    if shorter(limit.time, need.time) != need.time:
        yield f"partition {need.partition} limits a job to {limit.time}, and {need.time} is requested"


def _within_limits(site: Site, need: Resources) -> Resources:
    """`need` with nodes, tasks per node (and GPUs per node) and walltime reduced to the limits of the site.

    Each number is at least 1, even if this exceeds a limit.
    """
    limit, gpus = site.partitions.get(need.partition, Partition()), need.gpus_per_node
    gpu_limits = [number for number in (limit.gpus_per_node, site.gpus_per_user) if number and gpus]
    cpu_limits = [limit.cpus_per_node // need.cpus_per_task] if limit.cpus_per_node else []
    tasks = max(1, min([need.tasks_per_node, *gpu_limits, *cpu_limits]))
    if gpus and (tasks < need.tasks_per_node or gpus > min([gpus, *gpu_limits])):
        gpus = tasks  # with --tasks-per-node a job requests one GPU per task
    node_limits = [limit.nodes] if limit.nodes else []
    if site.gpus_per_user and gpus:
        node_limits.append(site.gpus_per_user // gpus)
    return dataclasses.replace(
        need,
        nodes=max(1, min([need.nodes, *node_limits])),
        tasks_per_node=tasks,
        gpus_per_node=gpus,
        time=shorter(limit.time, need.time),
    )


def shorter(limit: str, walltime: str) -> str:
    """The shorter of `walltime` and the `limit` of a partition ("" for unknown); both in the format of sbatch."""
    limit_s, walltime_s = durations.seconds(limit), durations.seconds(walltime)
    return limit if limit and limit_s is not None and (walltime_s is None or walltime_s > limit_s) else walltime


def require_account(site: Site) -> None:
    """Raises UsageError, with what to type, if the site charges jobs to a project and no account is named."""
    kinds = (site.options(need) for need in (site.train, site.evaluate, site.preprocess))
    named = all(any(option.startswith(("--account", "-A")) for option in options) for options in kinds)
    if site.account and not (named or os.environ.get("SBATCH_ACCOUNT")):
        raise UsageError(f"this site charges jobs to a project; type first: {site.account}")


def load(name: str | None) -> Site:
    """The site with this name or path of a .toml file; None for $CLOUDSEG_SITE, else ruche.

    Raises UsageError if the site does not exist or its file is wrong.
    """
    path = file(name)
    return config.build(Site, config.read_toml(path), str(path))


def file(name: str | None) -> Path:
    """The file of the site `name`, as for `load`. Raises UsageError if it does not exist."""
    name = name or os.environ.get("CLOUDSEG_SITE") or DEFAULT
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.exists():
        known = sorted(p.stem for p in FOLDER.glob("*.toml"))
        raise UsageError(f"--site {name}: {path} is not there{config.nearest(name, known)}")
    return path.resolve()
