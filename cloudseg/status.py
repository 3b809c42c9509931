"""Show the state and the progress of each stage of a run, why it waits or failed, and what to type next.

  python -m cloudseg.status runs/NAME
  python -m cloudseg.status runs/NAME --watch        repeat every 30 seconds
  python -m cloudseg.status runs/NAME --json

Calls squeue and sacct once each, for any number of jobs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from cloudseg.core import output, run
from cloudseg.core.errors import UsageError, run_command
from cloudseg.monitor import page, state

LEAST_PERIOD_S = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path(run.DEFAULT), help="(default %(default)s)")
    parser.add_argument("--watch", action="store_true", help="repeat until no stage is to come, queued or running")
    parser.add_argument(
        "--every", type=float, default=30, metavar="S", help="seconds between repetitions (default 30, at least 10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    if args.watch and args.json:
        raise UsageError("--watch and --json exclude each other; leave out one of them")
    opened = run.open_run(args.run)
    while True:
        states, remarks = state.query(opened)
        if args.json:
            stages = [dataclasses.asdict(each) for each in states]
            print(json.dumps({"run": opened.path, "stages": stages, "remarks": remarks}, indent=2, default=str))
            return
        if args.watch and sys.stdout.isatty():
            print("\033[H\033[J", end="")
        print("\n".join(page.lines(opened, states, remarks)), flush=True)
        if not args.watch or all(each.state in (state.DONE, *state.TROUBLE) for each in states):
            return
        if output.wait_for_closed_output(max(LEAST_PERIOD_S, args.every)):
            return


if __name__ == "__main__":
    run_command(main)
