"""Print what a stage's jobs said; by default the stage that runs, or the last that did.

python -m cloudseg.logs runs/NAME
python -m cloudseg.logs runs/NAME --stage full --follow
python -m cloudseg.logs runs/NAME --rank 3             what this rank said
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cloudseg.core import output, run
from cloudseg.core.errors import UsageError, run_command, to_type
from cloudseg.core.run import EVALUATE, Run
from cloudseg.monitor import state

PERIOD_S = 1.0
LABEL = re.compile(r"^ *(\d+): ")
"""What srun puts before the lines of a rank."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.logs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path(run.DEFAULT), help="(default %(default)s)")
    parser.add_argument("--stage", help="a stage by name or number, or evaluate")
    parser.add_argument("--fold", type=int, help="of a cross-validation: this fold's")
    parser.add_argument("--rank", type=int, help="only the lines of this rank")
    parser.add_argument(
        "--follow",
        "-f",
        action="store_true",
        help="and what comes, in the stages after it too, until all is done or Ctrl-C",
    )
    args = parser.parse_args()
    opened = run.open_run(args.run)
    if args.fold is not None:
        opened = run.open_run(opened.member(args.fold))
    log = opened.jobs / f"{opened.find(args.stage)}.log" if args.stage else latest(opened)
    if not log.exists():
        raise UsageError(
            f"{log} is not there: no job of this stage has started; type: {to_type('cloudseg.status', args.run)}"
        )
    follows = (lambda: latest(opened)) if not args.stage else lambda: log
    for line in lines(log, args.follow, follows, lambda: opened.done(EVALUATE) is not None):
        if args.rank is None:
            sys.stdout.write(line)
        elif (match := LABEL.match(line)) and int(match[1]) == args.rank:
            sys.stdout.write(line[match.end() :])
        sys.stdout.flush()


def latest(opened: Run) -> Path:
    """The log that was written to last."""
    logs = [log for member, stage in state.parts(opened) if (log := member.jobs / f"{stage}.log").exists()]
    if not logs:
        raise UsageError(
            f"{opened.jobs} holds no log: no job has started (without Slurm, stages print to the terminal)"
        )
    return max(logs, key=lambda log: log.stat().st_mtime_ns)


def lines(log: Path, follow: bool, newest: Callable[[], Path], over: Callable[[], bool]) -> Iterator[str]:
    """The lines of a file; with `follow` those that are added, and then those of the log that is the `newest` by then,
    until all is `over`."""
    while True:
        with log.open(errors="replace") as file:
            rest, ended = "", not follow
            while True:
                rest += file.readline()
                if rest.endswith("\n"):
                    yield rest
                    rest = ""
                elif ended:
                    break
                else:
                    # Asked before the last look: what was written until then is seen.
                    ended = over() or newest() != log
                    ended = output.reader_leaves(PERIOD_S) or ended
        if rest:
            yield rest
        if not follow or newest() == log:
            return
        log = newest()
        yield f"==> {log} <==\n"


if __name__ == "__main__":
    run_command(main)
