"""Site files: what a cluster calls its partitions and what a node of it holds. Data, read from env/sites/NAME.toml."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from cloudseg import config
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
