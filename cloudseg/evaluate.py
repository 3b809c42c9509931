"""Score a trained run on its validation images: tuned rules for masks, competition Dice, figures, report.html.

python -m cloudseg.evaluate --run runs/NAME
srun --ntasks-per-node=4 python -m cloudseg.evaluate --run runs/NAME --flips
python -m cloudseg.evaluate --run runs/fold0 --with runs/fold1 runs/fold2 --out runs/ensemble
python -m cloudseg.evaluate --run runs/a --with runs/b --choose-weights --out runs/ab
python -m cloudseg.evaluate --run runs/NAME --data OTHER

Writes RUN/evaluate/ and RUN/report.html. Probability maps are kept in RUN/probabilities, so that a second call needs no
GPU. Several runs are scored as an ensemble: the mean of the probability maps of the runs that did not train on the
image. With --data, all images of another data set are scored with the rules that the evaluation chose before; results
go to RUN/other-data/.
"""

from __future__ import annotations

import functools
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import UsageError, run_command
from cloudseg.core.signals import stop
from cloudseg.monitor import efficiency
from cloudseg.training import rank


def main() -> None:
    parser = run.parser("evaluate", __doc__)
    parser.add_argument("--data", type=Path, metavar="OTHER", help="score all images of this data set instead")
    parser.add_argument(
        "--thresholds", type=Path, metavar="FILE", help="with --data: rules (default: RUN/evaluate/thresholds.json)"
    )
    parser.add_argument("--with", dest="others", nargs="+", type=Path, default=[], metavar="RUN", help="more runs")
    parser.add_argument("--weights", nargs="+", type=float, metavar="W", help="weight of each run (default: 1)")
    parser.add_argument(
        "--choose-weights",
        action="store_true",
        help="choose the weights of runs on the validation images that they share",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for results of several runs, or of --data")
    parser.add_argument("--flips", action="store_true", help="average over the image and its three mirror images")
    args = parser.parse_args()
    if (args.others and not args.out) or (args.out and not args.others and not args.data):
        raise UsageError("--with RUN ... and --out DIR go together: results of several runs need a folder")
    if args.thresholds and not args.data:
        raise UsageError("--thresholds FILE goes with --data OTHER; without it the rules are chosen anew")
    if args.choose_weights and (args.weights or args.data or not args.others):
        raise UsageError("--choose-weights goes with --with RUN ..., without --weights and --data")
    runs = [run.open_run(path) for path in (args.run, *args.others)]

    if args.data:
        from cloudseg.results import other_data  # imports OpenCV, which --help does not need

        request = other_data.prepare(runs, args.data, args.thresholds, args.weights, args.flips, args.out)
        with rank.started(runs[0], stop) as own:
            from cloudseg.results.evaluation import evaluate_on

            evaluate_on(request, own)
        return
    with rank.started(runs[0], stop) as own:
        from cloudseg.results.evaluation import evaluate

        costs = functools.partial(efficiency.tables, runs[0])
        evaluate(runs, args.weights, args.out, args.flips, own, costs, args.choose_weights)


if __name__ == "__main__":
    run_command(main)
