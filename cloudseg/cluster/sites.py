"""Site files: what a cluster calls its partitions and what a node of it holds. Data, read from env/sites/NAME.toml."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from cloudseg import config
from cloudseg.cluster import times
from cloudseg.errors import UsageError

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
    """Raises UsageError, with the limit, for what the site would refuse, or leave in the queue for ever."""
    gpus = need.nodes * need.gpus_per_node
    if site.gpus_per_user and gpus > site.gpus_per_user:
        raise UsageError(
            f"{need.nodes} nodes x {need.gpus_per_node} GPUs are {gpus}, and this site gives a user "
            f"{site.gpus_per_user} at a time; type: --nodes {max(1, site.gpus_per_user // need.gpus_per_node)}"
        )
    limit = site.partitions.get(need.partition, Partition())
    asked = {
        "nodes": (need.nodes, limit.nodes),
        "GPUs a node": (need.gpus_per_node, limit.gpus_per_node),
        "CPUs a node": (need.tasks_per_node * need.cpus_per_task, limit.cpus_per_node),
    }
    for what, (number, most) in asked.items():
        if most and number > most:
            raise UsageError(f"partition {need.partition} has {most} {what}, and {number} are asked for")
    longest, walltime = (times.seconds(text) for text in (limit.time, need.time))
    if limit.time and longest is not None and (walltime is None or walltime > longest):
        raise UsageError(
            f"partition {need.partition} gives a job {limit.time}, and {need.time} is asked for; type: "
            f"--time {limit.time} (a stage that needs more goes back into the queue, and on, by itself)"
        )


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
