"""`python -m bench`: measure the speed of cloudseg, always against a baseline in the same run."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from bench import options
from cloudseg.core.atomic import write_json
from cloudseg.core.errors import run_command

BENCHMARKS = (
    "preprocess",
    "feed",
    "storage",
    "step",
    "checkpoint",
    "validation",
    "predict",
    "science",
    "scaling",
    "links",
    "search",
)
"""Packages of this folder, each with `DOES`, `EXAMPLE`, `add_arguments`, and a function `run` in its module `run`."""
EXAMPLES = """\
examples:
  python -m bench preprocess --data kaggle                   preprocessing, bare JPEG decoding, a typical Kaggle kernel
  python -m bench feed --json feed.json                      batches for TensorFlow, with generated data
  python -m bench feed --data kaggle --shards data/320x480   the same with existing shards
  python -m bench storage                                    layouts and codecs of a shard
  python -m bench step --ranks 2 --network unet-resnet18     cost of the feed in a training step
  python -m bench checkpoint --json checkpoint.json          cost of checkpoints; about 13 minutes
  python -m bench validation --ranks 2                       validation, the bare forward pass
  python -m bench predict                                    prediction, the bare network, the usual loop
  python -m bench science --matrix M.toml --data DATA --out OUT    trainings with different settings; hours
  python -m bench scaling --ranks 2                          cost of communication
  python -m bench links                                      accuracy of the model of cloudseg.scaling

Every ratio comes from alternating pairs (ours, baseline, ours, baseline, ...) in one run, and is printed as median and
min..max. "ours" is cloudseg. Temporary files, some GB at most, are in $TMPDIR.
"""


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    out = argparse.ArgumentParser(
        "python -m bench", description=__doc__.partition(": ")[2], epilog=EXAMPLES, formatter_class=form
    )
    commands = out.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name in BENCHMARKS:
        package = importlib.import_module(f"bench.{name}")
        command = commands.add_parser(
            name,
            help=package.DOES,
            description=package.DOES,
            epilog=f"example:\n  {package.EXAMPLE}",
            formatter_class=form,
        )
        options.number(command, "--rounds", 5, "N", "number of pairs per ratio, or of seeds")
        command.add_argument("--json", type=Path, metavar="FILE", help="write settings, machine, figures and ratios")
        package.add_arguments(command)
    return out


def main() -> None:
    """Run one benchmark; print the results, and write them with --json."""
    given = vars(parser().parse_args())
    name, file = given.pop("benchmark"), given.pop("json")
    from bench.machine import machine

    report = importlib.import_module(f"bench.{name}.run").run(**given)
    print(report.table())
    if file:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
        write_json(file, json.loads(json.dumps(report.content(name, machine(), settings))))


if __name__ == "__main__":
    run_command(main)
