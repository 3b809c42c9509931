"""Check what nights are lost over: here, and, in a short job, on the nodes and between them.

  python -m cloudseg.doctor --site ruche                       as training would run
  python -m cloudseg.doctor --site ruche --partition gpu_test --nodes 1
  python -m cloudseg.doctor --here                             the login node's part only

Takes a few minutes once the job runs: it starts the ranks, has them reduce, lock and write, sends them the signal that
comes before the walltime, and requeues itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cloudseg.checks import job, login_node, nodes
from cloudseg.checks.findings import FAULT
from cloudseg.core import tables
from cloudseg.core.errors import FAILED, run_command
from cloudseg.performance import links
from cloudseg.slurm import sites


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
        job.run(args.in_job)
    elif args.listen:
        job.listen(args.listen)
    elif args.look:
        from cloudseg.checks import rank

        rank.look(args.look)
    else:
        return examine(args)
    return None


def examine(args: argparse.Namespace) -> int | None:
    """Print a table of what was found here and on the nodes; returns 1 if there is a fault."""
    site = sites.load(args.site)
    found = list(login_node.check(site, args.partition, slurm_needed=not args.here))
    if not args.here and not any(each.state == FAULT for each in found):
        changes = {"nodes": args.nodes, "tasks_per_node": args.tasks_per_node, "partition": args.partition}
        if args.tasks_per_node and site.train.gpus_per_node:
            changes["gpus_per_node"] = args.tasks_per_node
        given = {key: value for key, value in changes.items() if value is not None}
        found += nodes.check(args.site, given, args.folder, patience_s=60 * args.wait)
    rows = [("", "what", "found", "what to do"), *((each.state, each.what, each.found, each.todo) for each in found)]
    print("\n".join(tables.table(rows)))
    return FAILED if any(each.state == FAULT for each in found) else None


if __name__ == "__main__":
    run_command(main)
