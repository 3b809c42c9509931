"""The links of a site for the model of many GPUs: as its file has them, or as doctor measured them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from cloudseg import atomic
from cloudseg.cluster import scaling, sites
from cloudseg.cluster.scaling import Link, Machine
from cloudseg.cluster.sites import Site
from cloudseg.config import nearest
from cloudseg.errors import UsageError

FOLDER = Path("runs/doctor")
"""Where doctor leaves what it measured."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """An allreduce of `size` bytes that took `seconds`, over all ranks of a job."""

    nodes: int
    per_node: int
    size: int
    seconds: float
    day: str
    """As 2026-11-26."""


def save(measured: Measured, site: str, folder: Path) -> None:
    """For `load`; in place of an earlier one over as many nodes and ranks."""
    name = f"links-{site}-{measured.nodes}x{measured.per_node}.json"
    atomic.write_json(folder / name, dataclasses.asdict(measured))


def load(site: str, folder: Path) -> Iterator[Measured]:
    """What doctor measured on the site of this name, if anything."""
    for path in folder.glob(f"links-{site}-*.json"):
        yield Measured(**json.loads(path.read_text()))


def known(name: str | None, precision: str, folder: Path = FOLDER) -> tuple[Machine, list[Measured]]:
    """The site called `name`, with links as doctor measured them if it has; and what that was."""
    found = list(load(sites.file(name).stem, folder))
    return as_measured(machine(sites.load(name), precision), found), found


def machine(site: Site, precision: str) -> Machine:
    """A site's nodes of V100, with the links of its file. Raises UsageError if there is no such precision."""
    if precision not in scaling.FLOPS:
        raise UsageError(f"precision: there is no {precision!r}{nearest(precision, scaling.FLOPS)}")
    links = site.links
    return Machine(
        scaling.FLOPS[precision],
        site.train.gpus_per_node or site.train.tasks_per_node,
        Link(links.inside * 1e9, links.inside_us / 1e6),
        Link(links.between * 1e9, links.between_us / 1e6),
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
            left = each.seconds - scaling.ring(each.per_node, each.size, inner)
            machine = dataclasses.replace(machine, between=_fitted(outer, each.nodes, each.size, left))
    return machine


def _fitted(link: Link, ranks: int, size: int, seconds: float) -> Link:
    """As fast as a ring that takes so long needs it; as it was if that cannot be, as of one rank."""
    left = seconds - scaling.ring(ranks, 0, link)
    if ranks == 1 or left <= 0:
        return link
    return dataclasses.replace(link, bytes_per_s=2 * (ranks - 1) / ranks * size / left)
