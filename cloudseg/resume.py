"""Go on with a chain from the first stage that is not done, with the nodes, times and site of the last launch.

  python -m cloudseg.resume runs/NAME
  python -m cloudseg.resume runs/NAME --nodes 1 --time 12:00:00      others, as for launch
  python -m cloudseg.resume runs/NAME --dry-run

A stage that was under way goes on from its last checkpoint. With fewer ranks these do the work of those that it began
with, if they can share it evenly.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cloudseg import launch
from cloudseg.chain import launched
from cloudseg.core import run
from cloudseg.core.errors import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.resume", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path(run.DEFAULT), help="(default %(default)s)")
    words = sys.argv[1:]
    named = bool(words) and not words[0].startswith("-")
    # The others are launch's: only launch knows which of its options take a word.
    own, changes = words[:named], words[named:]
    args = parser.parse_args([*own, *({"-h", "--help"} & {*changes})])
    opened = run.open_run(args.run)
    # A fold was launched with the others.
    options = launched.options(opened.jobs) or launched.options(run.jobs_folder(opened.path.parent))
    stages = "preprocess,all" if "--csv" in options else "all"
    launch.main(["--stages", stages, "--run", str(args.run), *options, *changes])


if __name__ == "__main__":
    run_command(main)
