"""Resume a chain from the first stage that is not done, with the options of the last launch.

  python -m cloudseg.resume runs/NAME
  python -m cloudseg.resume runs/NAME --nodes 1 --time 12:00:00      with other options of launch
  python -m cloudseg.resume runs/NAME --dry-run

An unfinished stage resumes from its last checkpoint. It may resume on fewer ranks, if their number divides the number
of ranks that the stage started on; the effective batch stays the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cloudseg import launch
from cloudseg.chain import launch_options
from cloudseg.core import run
from cloudseg.core.errors import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.resume", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path(run.DEFAULT), help="(default %(default)s)")
    words = sys.argv[1:]
    has_run = bool(words) and not words[0].startswith("-")
    # The other words are options of launch, which parses them.
    run_words, launch_words = words[:has_run], words[has_run:]
    args = parser.parse_args([*run_words, *({"-h", "--help"} & {*launch_words})])
    opened = run.open_run(args.run)
    # The options of a fold are saved with its cross-validation.
    options = launch_options.load(opened.jobs) or launch_options.load(run.jobs_folder(opened.path.parent))
    stages = "preprocess,all" if "--csv" in options else "all"
    launch.main(["--stages", stages, "--run", str(args.run), *options, *launch_words])


if __name__ == "__main__":
    run_command(main)
