"""Score a trained run on its validation fold: tuned thresholds, the competition's Dice, metrics.json.

python -m cloudseg.evaluate --run runs/NAME
srun --ntasks-per-node=4 python -m cloudseg.evaluate --run runs/NAME
"""

from __future__ import annotations

from cloudseg import run
from cloudseg.errors import run_command
from cloudseg.training import rank


def main() -> None:
    parser = run.parser("evaluate", __doc__)
    args = parser.parse_args()
    opened = run.open_run(args.run)

    with rank.started(opened) as (comm, _):
        from cloudseg.results.evaluation import evaluate

        evaluate(opened, comm)


if __name__ == "__main__":
    run_command(main)
