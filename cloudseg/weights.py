"""Download ImageNet weights of encoders on the login node, because compute nodes have no internet.

  python -m cloudseg.weights fetch unet-resnet34    for a network; or for encoders: fetch resnet34 vgg16
  python -m cloudseg.weights list                   list the encoders, and which of their weights are here

The files are stored in $CLOUDSEG_CACHE/weights (default ~/.cache/cloudseg/weights), which compute nodes must see.
The same command resumes an interrupted download. A file of your own: launch with --set weights=FILE. See
docs/weights.md.
"""

from __future__ import annotations

import argparse

from cloudseg.core.config import nearest
from cloudseg.core.errors import UsageError, run_command
from cloudseg.nets import names
from cloudseg.nets.download import fetch
from cloudseg.nets.imagenet import IMAGENET
from cloudseg.nets.weights import cached, inspect

OWN_FILE = (
    "A file of your own (HDF5, as Keras's save_weights writes it for the network or its encoder) need not be listed "
    "here: launch with --set weights=FILE"
)


def encoder_of(name: str) -> str:
    """The encoder with this name, or of the network with this name. Raises UsageError if it has no download."""
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
    """Print one line per encoder: name, whether its file is there, size, state of its digest, path, URL."""
    row = "{:17}  {:7}  {:>8}  {:14}  {}  {}".format
    print(row("encoder", "file", "size", "digest", "path", "published at"))
    for encoder in names.ENCODERS:
        file = inspect(encoder)
        size = "" if file.bytes is None else f"{file.bytes / 1e6:.1f} MB"
        source = IMAGENET.get(encoder)
        print(row(encoder, file.state, size, file.digest, file.path, source.url if source else "-"), flush=True)
    print(OWN_FILE)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fetching = commands.add_parser("fetch", help="download weights of encoders into the cache")
    fetching.add_argument("name", nargs="+", help=f"a network, for example unet-resnet34, or {', '.join(IMAGENET)}")
    commands.add_parser("list", help="list the encoders, and which of their weights are here")
    arguments = parser.parse_args()
    if arguments.command == "list":
        show()
        return
    for encoder in [encoder_of(name) for name in arguments.name]:
        fetch(encoder)


if __name__ == "__main__":
    run_command(main)
