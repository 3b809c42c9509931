"""Layout and codec of a shard: speed of writing, size, speed of random reading."""

from argparse import ArgumentParser

from bench import options

DOES = "layout and codec of a shard: writing, size, random reading"
EXAMPLE = "python -m bench storage --samples 128 --json storage.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.size(parser)
    options.number(parser, "--samples", 128, "N", "samples")
    options.seconds(parser, 1.0, "of each reading")
