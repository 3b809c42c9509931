"""Throughput of batches for TensorFlow, in samples/s; one module per contender, with `contender(job) -> measure`."""

from argparse import ArgumentParser
from pathlib import Path

from bench import options

DOES = "throughput of uint8 batches in random order from a warm page cache to TensorFlow, compared with other readers"
EXAMPLE = "python -m bench feed --samples 600 --batch 16 --workers 2 --json feed.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.size(parser)
    parser.add_argument("--shards", type=Path, metavar="DATA", help="existing shards (default: made from --data)")
    options.number(parser, "--samples", 600, "N", "samples")
    options.number(parser, "--batch", 16, "B", "samples per batch")
    options.number(parser, "--workers", options.CORES, "W", "worker processes that augment")
    options.seconds(parser, 2.0, "of each measurement")
