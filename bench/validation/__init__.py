"""Validation of an epoch, compared with the bare forward pass of the same images."""

from argparse import ArgumentParser
from pathlib import Path

from bench import options

DOES = "validation with scores at 350x525, compared with the bare forward pass on ready batches"
EXAMPLE = "python -m bench validation --ranks 2 --network unet-mobilenetv2 --size 128x192 --batch 8"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    parser.add_argument("--shards", type=Path, metavar="DIR", help="validate on these existing shards")
    options.training(parser, batch=8)
    options.number(parser, "--images", 128, "N", "images per block")
