"""Check the site: submits a short job that tests GPUs, allreduce, shared disk, signals and requeue.

  python -m cloudseg.doctor --site ruche                       with the resources of training
  python -m cloudseg.doctor --site ruche --partition gpu_test --nodes 1
  python -m cloudseg.doctor --here                             checks of this machine only, without a job

The job runs for a few minutes. Its ranks run an allreduce, lock and write files, and receive the signal that Slurm
sends before the walltime; then the job requeues itself.
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
    """The parser of this command."""
    out = argparse.ArgumentParser(
        prog="python -m cloudseg.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = out.add_argument
    add("--site", metavar="NAME", help="site file in env/sites (default: $CLOUDSEG_SITE, else ruche)")
    add("--nodes", type=int, help="nodes of the job (default: as for training)")
    add("--tasks-per-node", type=int, help="ranks per node (default: as for training)")
    add("--partition", help="partition, for example one for short tests (default: from the site file)")
    add("--folder", type=Path, default=links.FOLDER, help="folder on the disk of the runs (default %(default)s)")
    add(
        "--wait",
        type=float,
        default=30,
        metavar="MINUTES",
        help="maximum time for the job, with its time in the queue (default %(default)s)",
    )
    add("--here", action="store_true", help="no job")
    for option in ("--in-job", "--look", "--listen"):
        add(option, type=Path, help=argparse.SUPPRESS)  # used by the job itself
    return out


def main() -> int | None:
    args = parser().parse_args()
    if args.in_job:
        job.run(args.in_job)
    elif args.listen:
        job.wait_for_signal(args.listen)
    elif args.look:
        from cloudseg.checks import rank

        rank.check(args.look)
    else:
        return check_site(args)
    return None


def check_site(args: argparse.Namespace) -> int | None:
    """Run all checks and print the table of findings; returns FAILED if there is a fault."""
    site = sites.load(args.site)
    changes = {"nodes": args.nodes, "tasks_per_node": args.tasks_per_node, "partition": args.partition}
    if args.tasks_per_node and site.train.gpus_per_node:
        changes["gpus_per_node"] = args.tasks_per_node
    given = {key: value for key, value in changes.items() if value is not None}
    findings = list(login_node.check(site, str(sites.file(args.site)), given, slurm_needed=not args.here))
    if not args.here and not any(each.state == FAULT for each in findings):
        findings += nodes.check(args.site, given, args.folder, patience_s=60 * args.wait)
    rows = [("", "what", "found", "what to do"), *((each.state, each.what, each.found, each.todo) for each in findings)]
    print("\n".join(tables.table(rows)))
    return FAILED if any(each.state == FAULT for each in findings) else None


if __name__ == "__main__":
    run_command(main)
