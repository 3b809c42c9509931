"""Is it worth it? What more GPUs would bring to each stage, from a model; nothing is trained.

  python -m cloudseg.scaling --site ruche                       the default network and recipe, 1 GPU and more
  python -m cloudseg.scaling --gpus 8 16 --set network=unet-vgg16 --set batch=16
  python -m cloudseg.scaling --between 3.2 --figure scaling.png with the GB/s that doctor measured

docs/scaling.md says what it knows and what not. To compare settings, give them as to launch: --set, --config.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from cloudseg import config, cost
from cloudseg.cluster import scaling, sites, text
from cloudseg.cluster.scaling import Link, Machine, Step
from cloudseg.cost import Layer
from cloudseg.errors import UsageError, run_command

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
IMAGES = 5546
"""Of the competition, of which a fold of five validates."""
COLUMNS = ("GPUs", "step ms", "waits ms", "images/s", "efficiency", "stage", "GPU h")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS, metavar="N", help="(default: 1 to 1024)")
    parser.add_argument("--site", help="a file in env/sites, for its links and GPUs a node (default $CLOUDSEG_SITE)")
    parser.add_argument("--size", default="320x480", metavar="HxW", help="of the images (default %(default)s)")
    parser.add_argument("--images", type=int, default=IMAGES, help="of the data set (default %(default)s)")
    parser.add_argument("--inside", type=float, metavar="GB/S", help="between GPUs of a node, in place of the site's")
    parser.add_argument("--between", type=float, metavar="GB/S", help="between nodes, in place of the site's")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw it too (.png, .svg)")
    config.add_arguments(parser)
    args = parser.parse_args()
    height, separator, width = args.size.partition("x")
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise UsageError(f"--size {args.size}: must be HEIGHTxWIDTH, as 320x480")
    if min(args.gpus) < 1 or args.images < 5:
        raise UsageError("--gpus and --images must be numbers of at least 1 and 5")
    settings = config.resolve(config.from_arguments(args), default_data="DATA")
    site = sites.load(args.site)
    machine = machine_of(site, settings.precision, args.inside, args.between)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from cloudseg.nets import cost as network_cost
    from cloudseg.nets import freeze, models

    curves = {}
    print(
        f"{settings.network} at {args.size}, {settings.batch} images a GPU and step, {settings.precision}; "
        f"{machine.per_node} GPUs a node of {machine.flops / 1e12:.3g} Tflop/s each, "
        f"{machine.inside.bytes_per_s / 1e9:.3g} GB/s inside a node and {machine.between.bytes_per_s / 1e9:.3g} between"
    )
    for name in settings.stages:
        stage = settings.stage[name]
        network = models.build(
            settings.network, (int(height), int(width)), settings.weights != "none", settings.batchnorm
        )
        freeze.freeze(network, stage.encoder, stage.train_bn)
        layers = network_cost.layers(network)
        batch = settings.batch * stage.accumulate
        compressed = settings.compression == "fp16"
        found = [scaling.step(layers, batch, ranks, machine, compressed=compressed) for ranks in sorted(args.gpus)]
        seconds = {one.ranks: duration(one, layers, machine, stage.epochs, args.images) for one in found}
        print(f"\n{name}: {stage.epochs} epochs, {sum(cost.message(layers, compressed)) / 1e6:.1f} MB a step")
        print("\n".join(text.table([COLUMNS, *(row(one, seconds[one.ranks]) for one in found)])))
        print("\n".join(advice(found, seconds, layers, batch, machine, stage.epochs, args.images)))
        curves[name] = [(one.ranks, one.images_per_s, one.efficiency) for one in found]
    if args.figure:
        from cloudseg.results import scaling_figure

        scaling_figure.draw(curves, f"{settings.network}, {args.size}: predicted").savefig(args.figure, dpi=90)


def machine_of(site: sites.Site, precision: str, inside: float | None, between: float | None) -> Machine:
    """V100 of a site; GB/s that are given replace the site's."""
    links = site.links
    return Machine(
        scaling.FLOPS[precision],
        site.train.gpus_per_node or site.train.tasks_per_node,
        Link((inside or links.inside) * 1e9, links.inside_us / 1e6),
        Link((between or links.between) * 1e9, links.between_us / 1e6),
    )


def duration(one: Step, layers: list[Layer], machine: Machine, epochs: int, images: int) -> float:
    """Seconds of a stage."""
    validation = images // 5
    return scaling.stage_seconds(one, cost.forward(layers) / machine.flops, epochs, images - validation, validation)


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


def advice(
    found: list[Step],
    seconds: dict[int, float],
    layers: list[Layer],
    batch: int,
    machine: Machine,
    epochs: int,
    images: int,
) -> Iterator[str]:
    """Where doubling stops to pay, why, and whether a larger batch would move that."""
    best = scaling.enough(seconds)
    if len(found) == 1:
        return
    at = next(one for one in found if one.ranks == best)
    beyond = next((one for one in found if one.ranks > best), at)
    yield f"Beyond {best} GPUs doubling makes the stage less than {scaling.PAYS:g} times as fast: " + (
        f"{1 - beyond.efficiency:.0%} of a step would be waiting for other GPUs."
        if beyond.efficiency < 1 / scaling.PAYS
        else f"starting takes {scaling.estimate.START_S:.0f} s, and a step takes {beyond.images} of its images at once."
    )
    larger = {one: scaling.step(layers, 2 * batch, one, machine) for one in seconds}
    then = scaling.enough({n: duration(each, layers, machine, epochs, images) for n, each in larger.items()})
    if then > best:
        yield f"With twice the batch, beyond {then}."


if __name__ == "__main__":
    run_command(main)
