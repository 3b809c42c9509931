"""Duration of the search for thresholds and minimum areas."""

from argparse import ArgumentParser

from bench import options

DOES = "search of threshold and minimum area per class on synthetic probabilities, compared with the usual loop"
EXAMPLE = "python -m bench search --images 1109 --json search.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.number(parser, "--images", 1109, "N", "number of images, by default those of a fold")
    options.number(parser, "--threads", options.CORES, "W", "threads of each contender")
