"""Experiments: short trainings of a matrix of settings and seeds, compared on the same validation images."""

from argparse import ArgumentParser
from pathlib import Path

from bench import options

DOES = "a matrix of short trainings: tuned and untuned Dice, with paired differences on the same images"
EXAMPLE = (
    "python -m bench science --matrix bench/science/staging.toml --data DATA --weights mobilenetv2.h5 --out OUT\n"
    "  the same command continues after an interruption; finished trainings are kept"
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--matrix", type=Path, dest="matrix_file", required=True, metavar="F.toml", help="runs, seeds and comparisons"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder of shards")
    parser.add_argument(
        "--weights",
        default="imagenet",
        metavar="FILE",
        help="encoder weights of runs that name none (default imagenet)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder of the runs")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="folder of the results, a small file each (default OUT/results)"
    )
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="only these runs of the matrix")
    options.number(parser, "--ranks", 2, "R", "Horovod ranks")
