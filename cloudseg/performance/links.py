"""Links of a site for the performance model: from the site file, or as doctor measured them."""

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
"""Folder with the measurements of doctor."""


VARIABLES = ("NCCL_", "HOROVOD_", "CLOUDSEG_INTERFACE")
"""Prefixes of environment variables that affect communication; jobs inherit them from the shell."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A measured allreduce over all ranks of a job."""

    nodes: int
    per_node: int
    """Ranks per node."""
    size: int
    """Bytes."""
    seconds: float
    day: str
    """Date, for example 2026-11-26."""
    gpu: str = ""
    """GPU of the ranks, for example "Tesla V100-SXM2-32GB"; "" for CPUs, which communicate in another way."""
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)
    """See `conditions`."""


@dataclasses.dataclass(frozen=True)
class Known:
    """The machine of a site, and the measurements that it is based on."""

    machine: Machine
    measured: list[Measured]
    """Measurements in use; they replace the links of the site file."""
    notes: list[str]
    """One line for each measurement that is not used, with the reason."""


def conditions(site: Site, partition: str | None = None) -> dict[str, Any]:
    """What affects communication except the number of ranks, from the site file, this shell and this environment.

    For jobs in `partition`, by default that of the site file.
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
    stamp = Path(sys.prefix) / "horovod.stamp"
    return {
        "partition": partition or site.train.partition,
        "environment": {**variables, **site.environment},
        "modules": list(site.modules),
        "sbatch": list(site.options(site.train)),
        "srun": list(site.srun),
        "horovod": stamp.read_text().split() if stamp.exists() else [],
    }


def save(measured: Measured, site: str, folder: Path) -> None:
    """Save a measurement in `folder`; it replaces one with the same nodes, ranks, GPU and conditions."""
    digest = hashlib.sha256(json.dumps([measured.gpu, measured.conditions], sort_keys=True).encode()).hexdigest()
    name = f"links-{site}-{measured.nodes}x{measured.per_node}-{digest[:8]}.json"
    atomic.write_json(folder / name, dataclasses.asdict(measured))


def load(site: str, folder: Path) -> Iterator[tuple[Path, Measured]]:
    """The saved measurements of the site with this name, as pairs of (file, measurement).

    Raises UsageError for a damaged file.
    """
    for path in sorted(folder.glob(f"links-{glob.escape(site)}-[0-9]*.json")):
        try:
            yield path, Measured(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            delete = shlex.join(["rm", str(path)])
            raise UsageError(
                f"{path} is no measurement of doctor; type: {delete}; then measure again with cloudseg.doctor"
            ) from None


def known(name: str | None, precision: str, folder: Path = FOLDER, partition: str | None = None) -> Known:
    """The machine of the site `name`, with measured links of `partition` (default: that of the site file) if there are.

    A measurement under other conditions than now (site file, Horovod, environment variables) is not used.
    """
    site, file = sites.load(name), sites.file(name)
    stem = file.stem
    again = to_type(
        "cloudseg.doctor",
        *("--site", stem if file.parent == sites.FOLDER.resolve() else file),
        *(("--partition", partition) if partition else ()),
    )
    now, used, notes = conditions(site, partition), [], []
    for path, each in load(stem, folder):
        changed = [key for key, value in now.items() if each.conditions.get(key) != value]
        if not each.gpu:
            notes.append(f"{path}: measured between CPUs, not between GPUs")
        elif changed:
            notes.append(f"{path}: measured with another {', '.join(changed)}; measure again: {again}")
        else:
            used.append(each)
    return Known(with_measured_links(machine(site, precision), used), used, notes)


def machine(site: Site, precision: str) -> Machine:
    """The machine of a site with V100 GPUs and the links of the site file. Raises UsageError for unknown precision."""
    if precision not in model.FLOPS:
        raise UsageError(f"precision: there is no {precision!r}{nearest(precision, model.FLOPS)}")
    links = site.links
    return Machine(
        model.FLOPS[precision],
        site.train.gpus_per_node or site.train.tasks_per_node,
        Link(links.inside * 1e9, links.inside_us / 1e6),
        Link(links.between * 1e9, links.between_us / 1e6),
    )


def with_bandwidth(machine: Machine, inside: float | None, between: float | None) -> Machine:
    """`machine` with bandwidths `inside` a node and `between` nodes in GB/s; None keeps the value."""
    return dataclasses.replace(
        machine,
        inside=Link(inside * 1e9, machine.inside.latency_s) if inside else machine.inside,
        between=Link(between * 1e9, machine.between.latency_s) if between else machine.between,
    )


def with_measured_links(machine: Machine, measurements: Iterable[Measured]) -> Machine:
    """`machine` with bandwidths for which the model predicts the measured durations.

    A measurement on one node gives the bandwidth inside a node. For one on several nodes the time of the ring inside a
    node is subtracted, and the rest gives the bandwidth between nodes; the measurement with the fewest ranks per node
    decides, because this subtraction is smallest.
    """
    for each in sorted(measurements, key=lambda one: (one.nodes > 1, -one.per_node)):
        inside, between = machine.inside, machine.between
        if each.nodes == 1:
            machine = dataclasses.replace(machine, inside=_fitted(inside, each.per_node, each.size, each.seconds))
        else:
            seconds = each.seconds - model.ring(each.per_node, each.size, inside)
            machine = dataclasses.replace(machine, between=_fitted(between, each.nodes, each.size, seconds))
    return machine


def _fitted(link: Link, ranks: int, size: int, seconds: float) -> Link:
    """`link` with the bandwidth for which a ring allreduce takes `seconds`.

    Unchanged for one rank, or if the latency alone takes longer.
    """
    transfer_s = seconds - model.ring(ranks, 0, link)
    if ranks == 1 or transfer_s <= 0:
        return link
    return dataclasses.replace(link, bytes_per_s=2 * (ranks - 1) / ranks * size / transfer_s)
