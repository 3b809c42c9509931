"""Throughput of several ranks, compared with independent processes and with other ways of communication."""

from argparse import ArgumentParser

from bench import options

DOES = "ranks compared with independent processes, MultiWorkerMirroredStrategy and PyTorch's DDP"
EXAMPLE = "python -m bench scaling --ranks 2 --batch 4 --json scaling.json"
BASELINES = ("independent", "ungrouped", "mwms", "ddp")


def add_arguments(parser: ArgumentParser) -> None:
    options.training(parser, batch=4)
    options.number(parser, "--steps", 2, "N", "steps per measurement")
    parser.add_argument("--only", choices=BASELINES, nargs="+", default=BASELINES, help="baselines (default: all)")
