"""Command-line options that several benchmarks share."""

from __future__ import annotations

import argparse
import os
from argparse import ArgumentParser
from pathlib import Path

from cloudseg.data import image_size

CORES = len(os.sched_getaffinity(0))


def positive(text: str) -> int:
    """Argparse type of a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def number(parser: ArgumentParser, option: str, default: int, metavar: str, what: str) -> None:
    """Add an option for a whole number from 1 on."""
    parser.add_argument(option, type=positive, default=default, metavar=metavar, help=f"{what} (default %(default)s)")


def seconds(parser: ArgumentParser, default: float, what: str) -> None:
    parser.add_argument("--seconds", type=float, default=default, metavar="S", help=f"{what} (default %(default)s)")


def data(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="train.csv and train_images/ (default: generated images)"
    )


def size(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=image_size.argument, default="320x480", metavar="HxW", help="of the images (default %(default)s)"
    )


def network(parser: ArgumentParser) -> None:
    parser.add_argument("--network", default="unet-resnet34", help="by name (default %(default)s)")


def training(parser: ArgumentParser, batch: int = 2) -> None:
    """Add the options of ranks that train."""
    number(parser, "--ranks", 2, "R", "Horovod ranks")
    network(parser)
    number(parser, "--batch", batch, "B", "images per rank and step")
    size(parser)
