"""How long the search for thresholds and smallest areas takes."""

from argparse import ArgumentParser

from bench import options

DOES = "threshold and smallest area of each class on made-up probabilities, beside the usual loop over pairs"
EXAMPLE = "python -m bench search --images 1109 --json search.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.number(parser, "--images", 1109, "N", "images: a fold's")
    options.number(parser, "--threads", options.CORES, "W", "of each")
