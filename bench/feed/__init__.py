"""Batches into TensorFlow: one module a contender, each with `contender(job) -> measure`, in samples/s."""

from argparse import ArgumentParser
from pathlib import Path

from bench import options

DOES = "uint8 batches in random order from a warm page cache into TensorFlow, ours beside other ways"
EXAMPLE = "python -m bench feed --samples 600 --batch 16 --workers 2 --json feed.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.size(parser)
    parser.add_argument("--shards", type=Path, metavar="DATA", help="shards that are there (default: made from --data)")
    options.number(parser, "--samples", 600, "N", "samples")
    options.number(parser, "--batch", 16, "B", "samples a batch")
    options.number(parser, "--workers", options.CORES, "W", "processes that augment")
    options.seconds(parser, 2.0, "of each measurement")
