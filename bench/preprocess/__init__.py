"""Throughput of preprocessing, JPEGs and train.csv to shards, and of two baselines."""

from argparse import ArgumentParser

from bench import options

DOES = "preprocessing (JPEGs and train.csv to shards), compared with bare decoding and a typical Kaggle kernel"
EXAMPLE = "python -m bench preprocess --data kaggle --workers 2 --json preprocess.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.size(parser)
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="number of images, repeated if there are fewer; 0 for all (default: all, or 2000 generated)",
    )
    options.number(parser, "--workers", options.CORES, "W", "processes of each contender")
