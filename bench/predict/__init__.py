"""Prediction of new pictures, compared with the bare network and with the usual loop over pictures."""

from argparse import ArgumentParser

from bench import options

DOES = "pictures per second of predict; baselines: the bare network on ready batches, one picture at a time"
EXAMPLE = "python -m bench predict --network unet-mobilenetv2 --size 128x192 --batch 8"


def add_arguments(parser: ArgumentParser) -> None:
    options.data(parser)
    options.network(parser)
    options.number(parser, "--batch", 8, "B", "images per batch")
    options.size(parser)
    options.number(parser, "--images", 64, "N", "pictures per measurement")
