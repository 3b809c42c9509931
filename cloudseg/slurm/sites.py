"""Site files: what a cluster calls its partitions and what a node of it holds. Data, read from env/sites/NAME.toml."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from cloudseg.core import config
from cloudseg.core.errors import UsageError
from cloudseg.slurm import durations

FOLDER = Path(__file__).resolve().parents[2] / "env" / "sites"
DEFAULT = "ruche"


@dataclasses.dataclass(frozen=True)
class Resources:
    """What one kind of job asks for."""

    partition: str
    time: str
    """Walltime as sbatch takes it: HH:MM:SS."""
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    gpus_per_node: int = 0


@dataclasses.dataclass(frozen=True)
class Partition:
    """What a partition gives at most; 0 and "" where that is not known."""

    time: str = ""
    nodes: int = 0
    gpus_per_node: int = 0
    cpus_per_node: int = 0


@dataclasses.dataclass(frozen=True)
class Links:
    """What an allreduce gets, in GB/s and microseconds, between the GPUs of a node and between nodes."""

    inside: float = 10.0
    inside_us: float = 10.0
    between: float = 10.0
    between_us: float = 10.0


@dataclasses.dataclass(frozen=True)
class Site:
    train: Resources
    """The stages: one task a GPU."""
    evaluate: Resources
    preprocess: Resources
    description: str = ""
    modules: tuple[str, ...] = ()
    """`module load` of each, by env/activate.sh, in every job."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """Exported by env/activate.sh in every job."""
    sbatch: tuple[str, ...] = ()
    """Further sbatch options of every job, as --constraint=v100-32g."""
    srun: tuple[str, ...] = ()
    """Further srun options of every step."""
    account: str = ""
    """What to type where jobs must be charged to a project, as export SBATCH_ACCOUNT=PROJECT@v100."""
    gpus_per_user: int = 0
    """Most GPUs that a user's jobs may hold together; 0 where there is no such limit."""
    partitions: dict[str, Partition] = dataclasses.field(default_factory=dict)
    links: Links = Links()


def refuse(site: Site, need: Resources) -> None:
    """Raises UsageError, with all limits that are passed and the options that keep to them, for what the site would
    refuse, or leave in the queue for ever."""
    if not (faults := [*_passed(site, need)]):
        return
    fits = _within(site, need)
    changes = {
        f"--nodes {fits.nodes}": fits.nodes != need.nodes,
        f"--tasks-per-node {fits.tasks_per_node}": (fits.tasks_per_node, fits.gpus_per_node)
        != (need.tasks_per_node, need.gpus_per_node),
        f"--time {fits.time}": fits.time != need.time,
    }
    changed = " ".join(option for option, differs in changes.items() if differs)
    if any(_passed(site, fits)):
        advice = "name another with --partition, or lower what the site file asks for"
    else:
        advice = f"type: {changed}"
    if need.time != fits.time:
        advice += " (a stage that needs more goes back into the queue, and on, by itself)"
    raise UsageError(f"{'; '.join(faults)}; {advice}")


def _passed(site: Site, need: Resources) -> Iterator[str]:
    """The limits that `need` passes, in words."""
    gpus, limit = need.nodes * need.gpus_per_node, site.partitions.get(need.partition, Partition())
    if site.gpus_per_user and gpus > site.gpus_per_user:
        yield (
            f"{need.nodes} nodes x {need.gpus_per_node} GPUs are {gpus}, and this site gives a user "
            f"{site.gpus_per_user} at a time"
        )
    asked = {
        "nodes": (need.nodes, limit.nodes),
        "GPUs a node": (need.gpus_per_node, limit.gpus_per_node),
        "CPUs a node": (need.tasks_per_node * need.cpus_per_task, limit.cpus_per_node),
    }
    for what, (number, most) in asked.items():
        if most and number > most:
            yield f"partition {need.partition} has {most} {what}, and {number} are asked for"
    if shorter(limit.time, need.time) != need.time:
        yield f"partition {need.partition} gives a job {limit.time}, and {need.time} is asked for"


def _within(site: Site, need: Resources) -> Resources:
    """`need` with fewer nodes, tasks a node (and as many GPUs) and less time, as far as the limits want that. One of
    each is the least, also where that is too much."""
    limit, gpus = site.partitions.get(need.partition, Partition()), need.gpus_per_node
    of_gpus = [most for most in (limit.gpus_per_node, site.gpus_per_user) if most and gpus]
    of_cpus = [limit.cpus_per_node // need.cpus_per_task] if limit.cpus_per_node else []
    tasks = max(1, min([need.tasks_per_node, *of_gpus, *of_cpus]))
    if gpus and (tasks < need.tasks_per_node or gpus > min([gpus, *of_gpus])):
        gpus = tasks  # where the number of tasks is said, jobs ask for a GPU each
    of_nodes = [limit.nodes] if limit.nodes else []
    if site.gpus_per_user and gpus:
        of_nodes.append(site.gpus_per_user // gpus)
    return dataclasses.replace(
        need,
        nodes=max(1, min([need.nodes, *of_nodes])),
        tasks_per_node=tasks,
        gpus_per_node=gpus,
        time=shorter(limit.time, need.time),
    )


def shorter(limit: str, walltime: str) -> str:
    """`walltime`, or the `limit` of a partition where that is less; both as sbatch takes them."""
    longest, asked = durations.seconds(limit), durations.seconds(walltime)
    return limit if limit and longest is not None and (asked is None or asked > longest) else walltime


def require_account(site: Site) -> None:
    """Raises UsageError, with what to type, where jobs need an account and none is named."""
    named = os.environ.get("SBATCH_ACCOUNT") or any(option.startswith(("--account", "-A")) for option in site.sbatch)
    if site.account and not named:
        raise UsageError(f"this site charges jobs to a project; type first: {site.account}")


def load(name: str | None) -> Site:
    """The site called `name`, or in a file of that path; without a name $CLOUDSEG_SITE, else Ruche.

    Raises UsageError if there is no such site or its file is wrong.
    """
    path = file(name)
    return config.build(Site, config.read_toml(path), str(path))


def file(name: str | None) -> Path:
    """The file of the site called `name`. Raises UsageError if there is none."""
    name = name or os.environ.get("CLOUDSEG_SITE") or DEFAULT
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.exists():
        known = sorted(p.stem for p in FOLDER.glob("*.toml"))
        raise UsageError(f"--site {name}: {path} is not there{config.nearest(name, known)}")
    return path.resolve()
