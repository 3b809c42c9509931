"""Compares the performance model with the measured time of Horovod over links of a given bandwidth."""

from argparse import ArgumentParser
from pathlib import Path

from bench import options

DOES = "the performance model compared with Horovod over slow links between simulated nodes on this machine; needs root"
EXAMPLE = "python -m bench links --nodes 2 4 8 --gigabits 0.1 1 --json links.json"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--nodes", type=options.positive, nargs="+", default=[2, 4, 8], metavar="N", help="(default: 2 4 8)"
    )
    parser.add_argument(
        "--gigabits",
        type=float,
        nargs="+",
        default=[0.1, 1.0],
        metavar="G",
        help="gigabits per second (default: 0.1 1)",
    )
    options.network(parser)
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw predicted and measured (.png, .svg)")
