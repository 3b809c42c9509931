"""Layouts and codecs of a shard: write speed, size, speed of random reads."""

from argparse import ArgumentParser

from bench import options

DOES = "layouts and codecs of a shard: write speed, size, speed of random reads"
EXAMPLE = "python -m bench storage --samples 128 --json storage.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.size(parser)
    options.number(parser, "--samples", 128, "N", "samples")
    options.seconds(parser, 1.0, "of each read measurement")
