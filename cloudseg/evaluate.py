"""Score a trained run on its validation images: tuned rules for masks, competition Dice, figures, report.html.

python -m cloudseg.evaluate --run runs/NAME
srun --ntasks-per-node=4 python -m cloudseg.evaluate --run runs/NAME --flips
python -m cloudseg.evaluate --run runs/fold0 --with runs/fold1 runs/fold2 --out runs/ensemble

Writes RUN/evaluate/ and RUN/report.html. Probability maps are kept in RUN/probabilities, so that a second call needs no
GPU. Several runs are scored as an ensemble: the mean of the probability maps of the runs that did not train on the
image.
"""

from __future__ import annotations

from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import UsageError, run_command
from cloudseg.core.signals import stop
from cloudseg.monitor import efficiency
from cloudseg.training import rank


def main() -> None:
    parser = run.parser("evaluate", __doc__)
    parser.add_argument("--with", dest="others", nargs="+", type=Path, default=[], metavar="RUN", help="more runs")
    parser.add_argument("--weights", nargs="+", type=float, metavar="W", help="weight of each run (default: 1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for results of several runs")
    parser.add_argument("--flips", action="store_true", help="average over the image and its three mirror images")
    args = parser.parse_args()
    if bool(args.others) != bool(args.out):
        raise UsageError("--with RUN ... and --out DIR go together: results of several runs need a folder")
    runs = [run.open_run(path) for path in (args.run, *args.others)]

    with rank.started(runs[0], stop) as own:
        from cloudseg.results.evaluation import evaluate

        evaluate(runs, args.weights, args.out, args.flips, own, lambda: efficiency.tables(runs[0]))


if __name__ == "__main__":
    run_command(main)
