"""Cost of the feed: the training step with the real feed, compared with the same step on a constant batch."""

from argparse import ArgumentParser

from bench import options

DOES = "the training step with the real augmented feed, compared with the same step on a constant batch"
EXAMPLE = "python -m bench step --ranks 2 --network unet-resnet34 --batch 2 --json step.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.training(parser)
    options.number(parser, "--steps", 1, "N", "timed steps per block")
    parser.set_defaults(rounds=16)
