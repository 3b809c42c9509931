"""Is it worth it? What more GPUs would bring to each stage, from a model; nothing is trained.

  python -m cloudseg.scaling --site ruche                       the default network and recipe, 1 GPU and more
  python -m cloudseg.scaling --gpus 8 16 --set network=unet-vgg16 --set batch=16
  python -m cloudseg.scaling --between 3.2 --figure scaling.png with the GB/s that doctor measured

docs/scaling.md says what it knows and what not. To compare settings, give them as to launch: --set, --config.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from cloudseg import config, prediction
from cloudseg.cluster import links, scaling, text
from cloudseg.cluster.scaling import Link, Machine, Step
from cloudseg.data import sizes
from cloudseg.errors import UsageError, run_command
from cloudseg.prediction import IMAGES, Data, StageModel

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
COLUMNS = ("GPUs", "step ms", "waits ms", "images/s", "efficiency", "stage", "GPU h")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS, metavar="N", help="(default: 1 to 1024)")
    parser.add_argument("--site", help="a file in env/sites, for its links and GPUs a node (default $CLOUDSEG_SITE)")
    parser.add_argument(
        "--size", type=sizes.argument, default="320x480", metavar="HxW", help="of the images (default %(default)s)"
    )
    parser.add_argument("--images", type=int, default=IMAGES, help="of the data set (default %(default)s)")
    parser.add_argument(
        "--measured", type=Path, default=links.FOLDER, metavar="DIR",
        help="where doctor left what it measured, which replaces the site's links (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--inside", type=float, metavar="GB/S", help="between GPUs of a node, in place of the site's")
    parser.add_argument("--between", type=float, metavar="GB/S", help="between nodes, in place of the site's")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw it too (.png, .svg)")
    config.add_arguments(parser)
    args = parser.parse_args()
    if min(args.gpus) < 1 or args.images < 5:
        raise UsageError("--gpus and --images must be numbers of at least 1 and 5")
    settings = config.resolve(config.from_arguments(args), default_data="DATA")
    site = links.known(args.site, settings.precision, args.measured)
    machine = given(site.machine, args.inside, args.between)
    print(
        f"{settings.network} at {args.size}, {settings.batch} images a GPU and step, {settings.precision}; "
        f"{machine.per_node} GPUs a node of {machine.flops / 1e12:.3g} Tflop/s each, "
        f"{machine.inside.bytes_per_s / 1e9:.3g} GB/s inside a node and {machine.between.bytes_per_s / 1e9:.3g} between"
    )
    for each in site.measured:
        print(f"links: doctor measured {each.nodes} x {each.per_node} ranks on {each.day}")
    for note in site.notes:
        print(f"links: not taken up: {note}")
    curves = {}
    data = Data.split(sizes.parse(args.size), args.images)
    for name, stage in prediction.stages(settings, data, machine).items():
        steps = [stage.step(ranks) for ranks in sorted(args.gpus)]
        print(f"\n{name}: {stage.epochs} epochs, {stage.bytes_a_step / 1e6:.1f} MB a step")
        print("\n".join(text.table([COLUMNS, *(row(one, stage.seconds(one.ranks)) for one in steps)])))
        for line in advice(stage, steps):
            print(line)
        curves[name] = [(one.ranks, one.images_per_s, one.efficiency) for one in steps]
    if args.figure:
        from cloudseg.results import scaling_figure

        scaling_figure.draw(curves, f"{settings.network}, {args.size}: predicted").savefig(args.figure, dpi=90)


def given(machine: Machine, inside: float | None, between: float | None) -> Machine:
    """`machine`, with links of so many GB/s where that is said."""
    return dataclasses.replace(
        machine,
        inside=Link(inside * 1e9, machine.inside.latency_s) if inside else machine.inside,
        between=Link(between * 1e9, machine.between.latency_s) if between else machine.between,
    )


def row(one: Step, seconds: float) -> tuple[str, ...]:
    return (
        str(one.ranks),
        f"{1000 * (one.compute_s + one.waiting_s):.1f}",
        f"{1000 * one.waiting_s:.1f}",
        f"{one.images_per_s:.0f}",
        f"{one.efficiency:.0%}",
        text.span(seconds),
        f"{seconds * one.ranks / 3600:.1f}",
    )


def advice(stage: StageModel, steps: list[Step]) -> Iterator[str]:
    """Where doubling stops to pay, why, and whether a larger batch would move that."""
    if len(steps) == 1:
        return
    best = scaling.enough({one.ranks: stage.seconds(one.ranks) for one in steps})
    at = next(one for one in steps if one.ranks == best)
    beyond = next((one for one in steps if one.ranks > best), at)
    yield f"Beyond {best} GPUs doubling makes the stage less than {scaling.PAYS:g} times as fast: " + (
        f"{1 - beyond.efficiency:.0%} of a step would be waiting for other GPUs."
        if beyond.efficiency < 1 / scaling.PAYS
        else f"starting takes {scaling.estimate.START_S:.0f} s, and a step takes {beyond.images} of its images at once."
    )
    larger = dataclasses.replace(stage, batch=2 * stage.batch)
    then = scaling.enough({one.ranks: larger.seconds(one.ranks) for one in steps})
    if then > best:
        yield f"With twice the batch, beyond {then}."


if __name__ == "__main__":
    run_command(main)
