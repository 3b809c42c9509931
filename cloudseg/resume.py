"""Go on with a chain from the first stage that is not done, with the nodes, times and site of the last launch.

  python -m cloudseg.resume runs/NAME
  python -m cloudseg.resume runs/NAME --nodes 1 --time 12:00:00      others, as for launch
  python -m cloudseg.resume runs/NAME --dry-run

A stage that was under way goes on from its last checkpoint. With fewer ranks these do the work of those that it began
with, if they can share it evenly.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cloudseg import launch, run
from cloudseg.errors import run_command


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
    options = earlier(opened.jobs / launch.LAUNCHED) or earlier(run.jobs_folder(opened.path.parent) / launch.LAUNCHED)
    stages = "preprocess,all" if "--csv" in options else "all"
    launch.main(["--stages", stages, "--run", str(args.run), *options, *changes])


def earlier(file: Path) -> list[str]:
    """The options of the last launch, as they would be typed; none if it left none."""
    try:
        table = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    options = []
    for key, value in table.items():
        if value not in (None, False):
            options += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
    return options


if __name__ == "__main__":
    run_command(main)
