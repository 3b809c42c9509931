"""Print the log of a stage; by default of the stage whose log was written last.

python -m cloudseg.logs runs/NAME
python -m cloudseg.logs runs/NAME --stage full --follow
python -m cloudseg.logs runs/NAME --rank 3             the lines of one rank
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import UsageError, run_command, to_type
from cloudseg.core.run import EVALUATE
from cloudseg.monitor import follow


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.logs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path(run.DEFAULT), help="(default %(default)s)")
    parser.add_argument("--stage", help="a stage by name or number, or evaluate")
    parser.add_argument("--fold", type=int, help="fold of a cross-validation")
    parser.add_argument("--rank", type=int, help="only the lines of this rank")
    parser.add_argument(
        "--follow",
        "-f",
        action="store_true",
        help="also print new lines, and the logs of later stages, until all is done or Ctrl-C",
    )
    args = parser.parse_args()
    opened = run.open_run(args.run)
    if args.fold is not None:
        opened = run.open_run(opened.member(args.fold))
    log = opened.jobs / f"{opened.find(args.stage)}.log" if args.stage else follow.latest(opened)
    if not log.exists():
        raise UsageError(
            f"{log} is not there: no job of this stage has started; type: {to_type('cloudseg.status', args.run)}"
        )
    newest = (lambda: log) if args.stage else lambda: follow.latest(opened)
    lines = follow.lines(log, args.follow, newest, lambda: opened.done(EVALUATE) is not None)
    for line in lines if args.rank is None else follow.of_rank(lines, args.rank):
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    run_command(main)
