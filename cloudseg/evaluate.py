"""Score a trained run on its validation fold: tuned thresholds, the competition's Dice, metrics.json.

python -m cloudseg.evaluate --run runs/NAME
srun --ntasks-per-node=4 python -m cloudseg.evaluate --run runs/NAME
"""

from __future__ import annotations

from cloudseg import run
from cloudseg.errors import run_command
from cloudseg.training import rank
from cloudseg.training.signals import StopFlag


def main() -> None:
    parser = run.parser("evaluate", __doc__)
    args = parser.parse_args()
    stop = StopFlag()
    stop.install()
    opened = run.open_run(args.run)

    with rank.started(opened, stop) as own:
        from cloudseg.results.evaluation import evaluate

        evaluate(opened, own)


if __name__ == "__main__":
    run_command(main)
