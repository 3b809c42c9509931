"""Compare the trials of a learning-rate study, or train one of them. The jobs of a study call this command.

  python -m cloudseg.study --run runs/study-lr               print a table and write study.png
  python -m cloudseg.study --run runs/study-lr --index 0     train the trial of the first learning rate

To start a study: python -m cloudseg.launch --study lr --values 1e-2,1e-3 --data DATA
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
        "--run", type=Path, default=Path(trials.DEFAULT), help=f"folder of the study (default {trials.DEFAULT})"
    )
    parser.add_argument("--index", type=int, help="train the trial with this index (from 0) in study.json")
    parser.add_argument("--ranks", type=int, help="number of ranks on this machine, outside Slurm (default 1)")
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
