"""JPEG + train.csv -> shards: images/s of the product's command and of two baselines."""

from argparse import ArgumentParser

from bench import options

DOES = "JPEG + train.csv -> shards, beside bare decoding and the usual kernel's way"
EXAMPLE = "python -m bench preprocess --data kaggle --workers 2 --json preprocess.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.size(parser)
    parser.add_argument(
        "--images", type=int, metavar="N", help="images, used again if fewer; 0 = all (default: all, or 2000 generated)"
    )
    options.number(parser, "--workers", options.CORES, "W", "processes of each")
