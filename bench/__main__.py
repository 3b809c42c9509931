"""`python -m bench`: how fast the product is, each time beside a baseline in the same run."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from cloudseg.atomic import write_json
from cloudseg.data import sizes
from cloudseg.errors import run_command

EXAMPLES = """\
examples:
  python -m bench preprocess --data kaggle                   ours, bare JPEG decoding, the usual kernel's way
  python -m bench feed --json feed.json                      batches into TensorFlow, with generated data
  python -m bench feed --data kaggle --shards data/320x480   the same from shards that are there
  python -m bench storage                                    layouts and codecs of a shard
  python -m bench step --ranks 2 --network unet-resnet18     does the feed slow the training step?
  python -m bench checkpoint --json checkpoint.json          what do checkpoints cost? some 13 minutes
  python -m bench scaling --ranks 2                          what does talking cost?
  python -m bench links                                      is the model of cloudseg.scaling right?

Every ratio comes from alternating pairs (ours, baseline, ours, baseline, ...) of the same run and is printed as
median and min..max. Temporary files, some GB at most, go to $TMPDIR.
"""


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    out = argparse.ArgumentParser(
        "python -m bench", description=__doc__.partition(": ")[2], epilog=EXAMPLES, formatter_class=form
    )
    commands = out.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")

    def command(
        name: str, does: str, example: str, of_data: bool = True, sized: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=does, description=does, epilog=f"example:\n  {example}", formatter_class=form
        )
        add = added.add_argument
        if of_data:
            add("--data", type=Path, metavar="DIR", help="train.csv and train_images/ (default: generated images)")
        if sized:
            add(
                "--size",
                type=sizes.argument,
                default="320x480",
                metavar="HxW",
                help="of the images (default %(default)s)",
            )
        add("--rounds", type=positive, default=5, metavar="N", help="pairs for each ratio (default %(default)s)")
        add("--json", type=Path, metavar="FILE", help="write settings, machine, figures and ratios to FILE")
        return added

    cores = len(os.sched_getaffinity(0))
    add = command(
        "preprocess",
        "JPEG + train.csv -> shards, beside bare decoding and the usual kernel's way",
        "python -m bench preprocess --data kaggle --workers 2 --json preprocess.json",
    ).add_argument
    add(
        "--images", type=int, metavar="N", help="images, used again if fewer; 0 = all (default: all, or 2000 generated)"
    )
    add("--workers", type=positive, default=cores, metavar="W", help="processes of each (default %(default)s)")

    add = command(
        "feed",
        "uint8 batches in random order from a warm page cache into TensorFlow, ours beside other ways",
        "python -m bench feed --samples 600 --batch 16 --workers 2 --json feed.json",
    ).add_argument
    add("--shards", type=Path, metavar="DATA", help="shards that are there (default: made from --data)")
    add("--samples", type=positive, default=600, metavar="N", help="samples (default %(default)s)")
    add("--batch", type=positive, default=16, metavar="B", help="samples a batch (default %(default)s)")
    add("--workers", type=positive, default=cores, metavar="W", help="processes that augment (default %(default)s)")
    add("--seconds", type=float, default=2.0, metavar="S", help="of each measurement (default %(default)s)")

    add = command(
        "storage",
        "layout and codec of a shard: writing, size, random reading",
        "python -m bench storage --samples 128 --json storage.json",
    ).add_argument
    add("--samples", type=positive, default=128, metavar="N", help="samples (default %(default)s)")
    add("--seconds", type=float, default=1.0, metavar="S", help="of each reading (default %(default)s)")

    def training_command(name: str, does: str, example: str, of_data: bool = True) -> Callable[..., argparse.Action]:
        add = command(name, does, example, of_data).add_argument
        add("--ranks", type=positive, default=2, metavar="R", help="Horovod ranks (default %(default)s)")
        add("--network", default="unet-resnet34", help="by name (default %(default)s)")
        add("--batch", type=positive, default=2, metavar="B", help="images a rank and step (default %(default)s)")
        return add

    add = training_command(
        "step",
        "the training step with the real augmented feed, beside the same step on a constant batch",
        "python -m bench step --ranks 2 --network unet-resnet34 --batch 2 --json step.json",
    )
    add("--steps", type=positive, default=1, metavar="N", help="timed steps in a block (default %(default)s)")
    commands.choices["step"].set_defaults(rounds=16)

    add = training_command(
        "checkpoint",
        "saving beside raw writing of as many bytes; training with a checkpoint a minute beside training without",
        "python -m bench checkpoint --seconds 60 --rounds 5 --json checkpoint.json",
    )
    add("--seconds", type=float, default=60.0, metavar="S", help="of training a checkpoint (default %(default)s)")

    add = training_command(
        "scaling",
        "ranks of ours beside as many processes that do not talk, MultiWorkerMirroredStrategy and PyTorch's DDP",
        "python -m bench scaling --ranks 2 --batch 4 --json scaling.json",
        of_data=False,
    )
    add("--steps", type=positive, default=2, metavar="N", help="steps in a measurement (default %(default)s)")
    beside = ["independent", "ungrouped", "mwms", "ddp"]
    add("--only", choices=beside, nargs="+", default=beside, help="of what it is measured beside (default: all)")
    commands.choices["scaling"].set_defaults(batch=4)

    add = command(
        "links",
        "the model of many GPUs beside Horovod over slow links between nodes that this machine plays; as root",
        "python -m bench links --nodes 2 4 8 --gigabits 0.1 1 --json links.json",
        of_data=False,
        sized=False,
    ).add_argument
    add("--nodes", type=positive, nargs="+", default=[2, 4, 8], metavar="N", help="(default: 2 4 8)")
    add("--gigabits", type=float, nargs="+", default=[0.1, 1.0], metavar="G", help="a second (default: 0.1 1)")
    add("--network", default="unet-resnet34", help="by name (default %(default)s)")

    add = command(
        "search",
        "threshold and smallest area of each class on made-up probabilities, beside the usual loop over pairs",
        "python -m bench search --images 1109 --json search.json",
        of_data=False,
        sized=False,
    ).add_argument
    add("--images", type=positive, default=1109, metavar="N", help="images (default %(default)s: a fold)")
    add("--threads", type=positive, default=cores, metavar="W", help="of each (default %(default)s)")
    return out


def main() -> None:
    """Run one benchmark; print what it found, and write it if asked to."""
    options = vars(parser().parse_args())
    name, file = options.pop("benchmark"), options.pop("json")
    from bench.machine import machine

    report = importlib.import_module(f"bench.{name}.run").run(**options)
    print(report.table())
    if file:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
        write_json(file, json.loads(json.dumps(report.content(name, machine(), settings))))


if __name__ == "__main__":
    run_command(main)
