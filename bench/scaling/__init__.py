"""What many ranks bring: ours beside as many processes that do not talk, and beside other ways to make them talk."""

from argparse import ArgumentParser

from bench import options

DOES = "ranks of ours beside as many processes that do not talk, MultiWorkerMirroredStrategy and PyTorch's DDP"
EXAMPLE = "python -m bench scaling --ranks 2 --batch 4 --json scaling.json"
BASELINES = ("independent", "ungrouped", "mwms", "ddp")


def add_arguments(parser: ArgumentParser) -> None:
    options.training(parser, batch=4)
    options.number(parser, "--steps", 2, "N", "steps in a measurement")
    parser.add_argument(
        "--only", choices=BASELINES, nargs="+", default=BASELINES, help="of what it is measured beside (default: all)"
    )
