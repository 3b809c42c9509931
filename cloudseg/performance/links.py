"""The links of a site for the model of many GPUs: as its file has them, or as doctor measured them."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cloudseg.core import atomic
from cloudseg.core.config import nearest
from cloudseg.core.errors import UsageError, to_type
from cloudseg.performance import model
from cloudseg.performance.model import Link, Machine
from cloudseg.slurm import sites
from cloudseg.slurm.sites import Site

FOLDER = Path("runs/doctor")
"""Where doctor leaves what it measured."""


VARIABLES = ("NCCL_", "HOROVOD_", "CLOUDSEG_INTERFACE")
"""What the names of environment variables begin with that decide how ranks talk; jobs get them from the shell."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """An allreduce of `size` bytes that took `seconds`, over all ranks of a job."""

    nodes: int
    per_node: int
    size: int
    seconds: float
    day: str
    """As 2026-11-26."""
    gpu: str = ""
    """What the ranks computed on, as "Tesla V100-SXM2-32GB"; empty for CPUs, which talk in another way."""
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)
    """See `conditions`."""


@dataclasses.dataclass(frozen=True)
class Known:
    """A site's machine, and from what."""

    machine: Machine
    measured: list[Measured]
    """What doctor measured of it and is taken up; replaces the links of the site's file."""
    notes: list[str]
    """What doctor left that is not, and why, a line each."""


def conditions(site: Site, partition: str | None = None) -> dict[str, Any]:
    """What decides how fast ranks talk, beside their number: as the site's file and this shell have it now, for jobs in
    `partition`, else the site's."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
    stamp = Path(sys.prefix) / "horovod.stamp"
    return {
        "partition": partition or site.train.partition,
        "environment": {**variables, **site.environment},
        "modules": list(site.modules),
        "sbatch": list(site.sbatch),
        "srun": list(site.srun),
        "horovod": stamp.read_text().split() if stamp.exists() else [],
    }


def save(measured: Measured, site: str, folder: Path) -> None:
    """For `known`; in place of an earlier one over as many nodes and ranks under the same conditions."""
    digest = hashlib.sha256(json.dumps([measured.gpu, measured.conditions], sort_keys=True).encode()).hexdigest()
    name = f"links-{site}-{measured.nodes}x{measured.per_node}-{digest[:8]}.json"
    atomic.write_json(folder / name, dataclasses.asdict(measured))


def load(site: str, folder: Path) -> Iterator[tuple[Path, Measured]]:
    """What doctor measured on the site of this name, if anything, and the file of each.

    Raises UsageError for a file that is damaged.
    """
    for path in sorted(folder.glob(f"links-{glob.escape(site)}-[0-9]*.json")):
        try:
            yield path, Measured(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            delete = shlex.join(["rm", str(path)])
            raise UsageError(
                f"{path} is not what doctor writes; type: {delete}; then measure again with cloudseg.doctor"
            ) from None


def known(name: str | None, precision: str, folder: Path = FOLDER, partition: str | None = None) -> Known:
    """The site called `name`, with links as doctor measured them in `partition` (else the site's), if it has since the
    site's file, Horovod or the shell's variables last changed."""
    site, file = sites.load(name), sites.file(name)
    stem = file.stem
    again = to_type(
        "cloudseg.doctor",
        *("--site", stem if file.parent == sites.FOLDER.resolve() else file),
        *(("--partition", partition) if partition else ()),
    )
    now, found, notes = conditions(site, partition), [], []
    for path, each in load(stem, folder):
        changed = [key for key, value in now.items() if each.conditions.get(key) != value]
        if not each.gpu:
            notes.append(f"{path}: measured between CPUs, which says nothing of GPUs")
        elif changed:
            notes.append(f"{path}: measured with another {', '.join(changed)}; measure again: {again}")
        else:
            found.append(each)
    return Known(as_measured(machine(site, precision), found), found, notes)


def machine(site: Site, precision: str) -> Machine:
    """A site's nodes of V100, with the links of its file. Raises UsageError if there is no such precision."""
    if precision not in model.FLOPS:
        raise UsageError(f"precision: there is no {precision!r}{nearest(precision, model.FLOPS)}")
    links = site.links
    return Machine(
        model.FLOPS[precision],
        site.train.gpus_per_node or site.train.tasks_per_node,
        Link(links.inside * 1e9, links.inside_us / 1e6),
        Link(links.between * 1e9, links.between_us / 1e6),
    )


def given(machine: Machine, inside: float | None, between: float | None) -> Machine:
    """`machine`, with links of so many GB/s where that is said."""
    return dataclasses.replace(
        machine,
        inside=Link(inside * 1e9, machine.inside.latency_s) if inside else machine.inside,
        between=Link(between * 1e9, machine.between.latency_s) if between else machine.between,
    )


def as_measured(machine: Machine, found: Iterable[Measured]) -> Machine:
    """`machine` with links so fast that each of `found` would take what it took.

    One over a single node says how fast its inside is. Of one over several that is taken off first, and the rest is due
    to what is between; so that counts which has the fewest ranks a node.
    """
    for each in sorted(found, key=lambda one: (one.nodes > 1, -one.per_node)):
        inner, outer = machine.inside, machine.between
        if each.nodes == 1:
            machine = dataclasses.replace(machine, inside=_fitted(inner, each.per_node, each.size, each.seconds))
        else:
            left = each.seconds - model.ring(each.per_node, each.size, inner)
            machine = dataclasses.replace(machine, between=_fitted(outer, each.nodes, each.size, left))
    return machine


def _fitted(link: Link, ranks: int, size: int, seconds: float) -> Link:
    """As fast as a ring that takes so long needs it; as it was if that cannot be, as of one rank."""
    left = seconds - model.ring(ranks, 0, link)
    if ranks == 1 or left <= 0:
        return link
    return dataclasses.replace(link, bytes_per_s=2 * (ranks - 1) / ranks * size / left)
