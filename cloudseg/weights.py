"""Fetch ImageNet encoder weights on the login node, for compute nodes that have no internet.

  python -m cloudseg.weights fetch unet-resnet34    a network's encoder; or encoders: fetch resnet34 vgg16
  python -m cloudseg.weights list                   which there are, and which of them are here

They go to $CLOUDSEG_CACHE/weights (default ~/.cache/cloudseg/weights), which the compute nodes must see.
A download that broke off goes on when the same command is typed again. More in docs/weights.md.
"""

from __future__ import annotations

import argparse

from cloudseg.core.config import nearest
from cloudseg.core.errors import UsageError, run_command
from cloudseg.nets import names
from cloudseg.nets.download import fetch
from cloudseg.nets.imagenet import IMAGENET
from cloudseg.nets.weights import cached


def encoder_of(name: str) -> str:
    """The encoder meant by its own name or a network's. Raises UsageError if it has no weights to fetch."""
    if name in names.OWN:
        raise UsageError(
            f"{name} has no pretrained encoder, so there is nothing to fetch; launch trains it with "
            f"--set network={name} --set weights=none"
        )
    encoder = names.parse(name)[1] if "-" in name else name
    if encoder not in names.ENCODERS:
        raise UsageError(f"there is no encoder {encoder!r}{nearest(encoder, names.ENCODERS)}")
    if encoder not in IMAGENET:
        raise UsageError(
            f"no digest is published for the weights of {encoder}, so they are not fetched; "
            f"bring a file of your own to {cached(encoder)}, or name one to launch: --set weights=FILE"
        )
    return encoder


def show() -> None:
    """Print a line an encoder: name, whether its file is here, the file, and where it comes from."""
    for encoder in names.ENCODERS:
        file, source = cached(encoder), IMAGENET.get(encoder)
        state = "missing" if not file.exists() else "damaged" if source and not source.matches(file) else "present"
        print(f"{encoder:17}  {state}  {file}  {source.url if source else '(no digest is published)'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fetching = commands.add_parser("fetch", help="download encoders' weights into the cache")
    fetching.add_argument("name", nargs="+", help=f"a network, as unet-resnet34, or of {', '.join(IMAGENET)}")
    commands.add_parser("list", help="which weights there are, and which of them are here")
    arguments = parser.parse_args()
    if arguments.command == "list":
        show()
        return
    for encoder in [encoder_of(name) for name in arguments.name]:
        fetch(encoder)


if __name__ == "__main__":
    run_command(main)
