"""List networks: number of parameters, parameters of the encoder, and the part of the encoder that trains.

  python -m cloudseg.models                        the five networks of the source work, a small one, other decoders
  python -m cloudseg.models fpn-seresnet18         another network
  python -m cloudseg.models unet-resnet34 --encoder 0.2 --layers     the layers that train at a share of 0.2

The name of a network is vanilla, or DECODER-ENCODER.
"""

from __future__ import annotations

import argparse
import logging

from cloudseg.core.errors import UsageError, run_command
from cloudseg.nets import names

FIVE = ("vanilla", "unet-vgg16", "unet-resnet34", "unet-resnet18", "linknet-efficientnetb1")
DECODED = ("fcn-vgg16", "segnet-vgg16", "deeplabv3plus-mobilenetv2", "adlinknet-resnet34")
"""A network with each decoder of `cloudseg.nets.decoders`."""
LISTED = (*FIVE, "unet-mobilenetv2", *DECODED)
"""Networks that are listed by default."""
SIZE = (64, 96)
"""Image size (height, width) for the model; the number of parameters does not depend on it."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", default=LISTED, metavar="NETWORK")
    parser.add_argument(
        "--encoder", type=float, default=0.2, help="share of the encoder that trains (default 0.2, as in `partial`)"
    )
    parser.add_argument("--layers", action="store_true", help="list the layers of the encoder that train")
    args = parser.parse_args()
    if not 0 <= args.encoder <= 1:
        raise UsageError(f"--encoder {args.encoder:g}: a share is between 0 and 1")
    for name in args.names:
        names.parse(name)

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from cloudseg.nets import freeze, models

    print(
        f"{'network':24} {'parameters':>11} {'encoder':>11} {'share':>6}  share {args.encoder:g} of the encoder trains"
    )
    for name in args.names:
        network = models.build(name, SIZE, pretrained=False)
        total, encoder = network.model.count_params(), network.encoder_parameters()
        plan = freeze.freeze(network, args.encoder)
        chosen = f"{plan.encoder_share:.1%} in {len(plan.encoder_layers)} layers"
        first = f", from {plan.encoder_layers[0]} on" if plan.encoder_layers else ""
        print(f"{name:24} {total:11,} {encoder:11,} {encoder / total:6.1%}  {chosen}{first}", flush=True)
        if args.layers:
            print(*(f"  {layer}" for layer in plan.encoder_layers), sep="\n")


if __name__ == "__main__":
    run_command(main)
