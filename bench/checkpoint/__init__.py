"""What checkpoints cost: saving beside the disk's raw write speed, training with them beside training without."""

from argparse import ArgumentParser

from bench import options

DOES = "saving beside raw writing of as many bytes; training with a checkpoint a minute beside training without"
EXAMPLE = "python -m bench checkpoint --seconds 60 --rounds 5 --json checkpoint.json"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.training(parser)
    options.seconds(parser, 60.0, "of training a checkpoint")
