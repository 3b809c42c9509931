"""Cost of checkpoints: saving compared with raw disk writes, training with checkpoints compared with none."""

from argparse import ArgumentParser

from bench import options

DOES = "saving compared with raw writes of the same size; training with a checkpoint per minute compared with none"
EXAMPLE = "python -m bench checkpoint --seconds 60 --rounds 5 --json checkpoint.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.training(parser)
    options.seconds(parser, 60.0, "of training per checkpoint")
