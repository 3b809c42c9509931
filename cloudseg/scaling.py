"""Predict throughput and duration of each stage on more GPUs, from a performance model. Nothing is trained.

  python -m cloudseg.scaling --site ruche                       default network and recipe, 1 to 1024 GPUs
  python -m cloudseg.scaling --gpus 8 16 --set network=unet-vgg16 --set batch=16
  python -m cloudseg.scaling --between 3.2 --figure scaling.png with a measured bandwidth between nodes

docs/scaling.md describes the model and its limits. Settings are given as for launch: --set, --config.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cloudseg.core import config, tables
from cloudseg.core.errors import UsageError, run_command
from cloudseg.data import image_size
from cloudseg.performance import links, stage_time, summary
from cloudseg.performance.stage_time import IMAGES, Data

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--gpus", type=int, nargs="+", default=GPUS, metavar="N", help="numbers of GPUs (default: 1 to 1024)"
    )
    parser.add_argument(
        "--site", help="site file in env/sites with links and GPUs per node (default: $CLOUDSEG_SITE, else ruche)"
    )
    parser.add_argument(
        "--size", type=image_size.argument, default="320x480", metavar="HxW", help="image size (default %(default)s)"
    )
    parser.add_argument("--images", type=int, default=IMAGES, help="number of images (default %(default)s)")
    parser.add_argument(
        "--measured", type=Path, default=links.FOLDER, metavar="DIR",
        help="folder with measurements of doctor, which replace the links in the site file (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--inside", type=float, metavar="GB/S", help="bandwidth between GPUs of a node")
    parser.add_argument("--between", type=float, metavar="GB/S", help="bandwidth between nodes")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="also write a figure (.png, .svg)")
    config.add_arguments(parser)
    args = parser.parse_args()
    if min(args.gpus) < 1 or args.images < 5:
        raise UsageError("--gpus and --images must be numbers of at least 1 and 5")
    settings = config.resolve(config.from_arguments(args), default_data="DATA")
    data = Data.split(image_size.parse(args.size), args.images)
    size = "{}x{}".format(*image_size.training_size(data.size, settings.crop))
    site = links.known(args.site, settings.precision, args.measured)
    machine = links.with_bandwidth(site.machine, args.inside, args.between)
    print(
        f"{settings.network} at {size}, {settings.batch} images per GPU and step, {settings.precision}; "
        f"{machine.per_node} GPUs per node, {machine.flops / 1e12:.3g} TFLOP/s per GPU, "
        f"{machine.inside.bytes_per_s / 1e9:.3g} GB/s inside a node, {machine.between.bytes_per_s / 1e9:.3g} GB/s "
        "between nodes"
    )
    for each in site.measured:
        print(f"links: measured by doctor with {each.nodes} x {each.per_node} ranks on {each.day}")
    for note in site.notes:
        print(f"links: not used: {note}")
    curves = {}
    for name, stage in stage_time.stages(settings, data, machine).items():
        steps = [stage.step(ranks) for ranks in sorted(args.gpus)]
        print(f"\n{name}: {stage.epochs} epochs, {stage.bytes_per_step / 1e6:.1f} MB of gradients per step")
        print(
            "\n".join(tables.table([summary.COLUMNS, *(summary.row(one, stage.seconds(one.ranks)) for one in steps)]))
        )
        for line in summary.advice(stage, steps):
            print(line)
        curves[name] = [(one.ranks, one.images_per_s, one.efficiency) for one in steps]
    if args.figure:
        from cloudseg.performance import figure

        figure.draw(curves, f"{settings.network}, {size}: predicted").savefig(args.figure, dpi=90)


if __name__ == "__main__":
    run_command(main)
