"""Check what nights are lost over: here, and, in a short job, on the nodes and between them.

  python -m cloudseg.doctor --site ruche                       as training would run
  python -m cloudseg.doctor --site ruche --partition gpu_test --nodes 1
  python -m cloudseg.doctor --here                             the login node's part only

Takes a few minutes once the job runs: it starts the ranks, has them reduce, lock and write, sends them the signal that
comes before the walltime, and requeues itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudseg import provenance
from cloudseg.cluster import checkup, commands, findings, links, planning, sbatch, sites, slurm, snapshot, text
from cloudseg.cluster.findings import FAULT, FINE, Finding
from cloudseg.config import Settings
from cloudseg.errors import FAILED, DataError, UsageError, run_command
from cloudseg.nets import names, weights


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="python -m cloudseg.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = out.add_argument
    add("--site", metavar="NAME", help="site file in env/sites (default: $CLOUDSEG_SITE, else ruche)")
    add("--nodes", type=int, help="nodes of the job (default: as training)")
    add("--tasks-per-node", type=int, help="ranks a node (default: as training)")
    add("--partition", help="in place of the site's, as one for tests")
    add("--folder", type=Path, default=links.FOLDER, help="on the disk where runs lie (default %(default)s)")
    add("--wait", type=float, default=30, metavar="MINUTES", help="for the job, queue included (default %(default)s)")
    add("--here", action="store_true", help="no job")
    for option in ("--in-job", "--look", "--listen"):
        add(option, type=Path, help=argparse.SUPPRESS)  # what the job calls
    return out


def main() -> int | None:
    args = parser().parse_args()
    if args.in_job:
        checkup.run(args.in_job)
    elif args.listen:
        checkup.listen(args.listen)
    elif args.look:
        from cloudseg.training import checkup as rank

        rank.look(args.look)
    else:
        return examine(args)
    return None


def examine(args: argparse.Namespace) -> int | None:
    """Look at everything, and print a table; 1 if there is a fault."""
    site = sites.load(args.site)
    found = list(here(site, args))
    if not args.here and not any(each.state == FAULT for each in found):
        found += there(site, args)
    rows = [("", "what", "found", "what to do"), *((each.state, each.what, each.found, each.todo) for each in found)]
    print("\n".join(text.table(rows)))
    return FAILED if any(each.state == FAULT for each in found) else None


def here(site: sites.Site, args: argparse.Namespace) -> Iterator[Finding]:
    """On this machine, where jobs are submitted."""
    versions = provenance.versions()
    yield Finding("environment", FINE, f"Python {versions['python']} in {sys.prefix}")
    encoder = names.parse(Settings(data="").network)[1]
    try:
        weights.require(Settings(data="").weights, encoder)
        yield Finding("weights", FINE, str(weights.cached(encoder)))
    except UsageError as error:
        yield Finding("weights", findings.NOTE, "not there", str(error).partition("on the login node: ")[2])
    except DataError as error:
        yield Finding("weights", FAULT, *str(error).split("; on the login node: "))
    if args.here and not sbatch.is_there():
        return
    if not sbatch.is_there():
        yield Finding("Slurm", FAULT, "no sbatch on this machine", "log in where jobs are submitted, or: --here")
        return
    yield Finding("Slurm", FINE, commands.ask(["sbatch", "--version"]) or "")
    try:
        sites.require_account(site)
    except UsageError as error:
        yield Finding("account", FAULT, "jobs are charged to a project", str(error).partition("type first: ")[2])
    need = dataclasses.replace(
        site.train, **({"partition": args.partition, "time": "00:15:00"} if args.partition else {})
    )
    yield from findings.of_partition(site, need, checkup.partition(need.partition))


def there(site: sites.Site, args: argparse.Namespace) -> Iterator[Finding]:
    """On the nodes: a job, which is waited for."""
    changes: dict[str, Any] = {"nodes": args.nodes, "tasks_per_node": args.tasks_per_node, "partition": args.partition}
    if args.tasks_per_node and site.train.gpus_per_node:
        changes["gpus_per_node"] = args.tasks_per_node
    need = checkup.asked(site, {key: value for key, value in changes.items() if value is not None})
    sites.refuse(site, need)
    folder = args.folder.resolve() / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    job = slurm.Job("doctor", need, "", str(folder / "doctor.log"), site.sbatch,
                    planning.exports_of(args, snapshot.code(folder, live=False)))  # fmt: skip
    number = checkup.submit(folder, job)
    print(f"job {number}: {need.nodes} x {need.tasks_per_node} ranks, {need.partition}; log {job.log}", flush=True)
    checkup.wait(folder, number, 60 * args.wait, lambda line: print(line, flush=True))
    seen = checkup.seen(folder)
    conditions = links.conditions(site, need.partition)
    if links_seen := findings.links(seen.ranks, need, time.strftime("%Y-%m-%d"), conditions):
        links.save(links_seen, sites.file(args.site).stem, args.folder)
    yield from findings.of_ranks(seen.ranks, need, provenance.versions())
    yield from findings.of_signals(seen.heard, need.nodes * need.tasks_per_node, seen.requeued_s)


if __name__ == "__main__":
    run_command(main)
