"""Train one trial of a learning-rate study, or compare those that are there: what the jobs of a study run.

  python -m cloudseg.study --run runs/study-lr               the table, and study.png
  python -m cloudseg.study --run runs/study-lr --index 0     the trial of the first value

A study is started with: python -m cloudseg.launch --study lr --values 1e-2,1e-3 --data DATA
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cloudseg.chain import trials
from cloudseg.core.errors import UsageError, run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, default=Path(trials.DEFAULT), help=f"the study's folder (default {trials.DEFAULT})"
    )
    parser.add_argument("--index", type=int, help="train the trial of this value, from 0, in the order of study.json")
    parser.add_argument("--ranks", type=int, help="processes on this machine, outside Slurm (default 1)")
    args = parser.parse_args()
    study = trials.open_study(args.run)
    if args.index is None:
        trials.compare(study)
    elif 0 <= args.index < len(study.rates):
        trials.train(study, args.index, args.ranks)
    else:
        raise UsageError(f"--index {args.index}: {args.run} has trials 0 to {len(study.rates) - 1}")


if __name__ == "__main__":
    run_command(main)
