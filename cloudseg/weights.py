"""Fetch ImageNet encoder weights on the login node, for compute nodes that have no internet.

  python -m cloudseg.weights fetch resnet34

They go to $CLOUDSEG_CACHE/weights (default ~/.cache/cloudseg/weights), which the compute nodes must see.
"""

from __future__ import annotations

import argparse
import shutil
import urllib.error
import urllib.request

from cloudseg.atomic import replacing
from cloudseg.errors import CloudsegError, UsageError, run_command
from cloudseg.nets import weights


def fetch(encoder: str) -> None:
    """Download the weights of `encoder` unless they are there, whole or not at all.

    Raises UsageError for an unknown encoder, CloudsegError if the download fails or has the wrong digest.
    """
    encoder = encoder.rpartition("-")[2]
    if encoder not in weights.IMAGENET:
        raise UsageError(f"no download is known for {encoder!r}; there are: {', '.join(weights.IMAGENET)}")
    source, file = weights.IMAGENET[encoder], weights.cached(encoder)
    if file.exists() and weights.md5(file) == source.md5:
        print(f"{file} is there")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {source.url}", flush=True)
    with replacing(file) as partial:
        try:
            with urllib.request.urlopen(source.url, timeout=60) as response, partial.open("wb") as out:
                shutil.copyfileobj(response, out)
        except urllib.error.URLError as error:
            raise CloudsegError(
                f"{source.url}: {error}; without internet here, fetch it elsewhere and put it at {file}"
            ) from None
        if weights.md5(partial) != source.md5:
            raise CloudsegError(f"{source.url}: what came has another digest than published; type it again")
    print(f"{file} is there now")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fetching = commands.add_parser("fetch", help="download an encoder's weights into the cache")
    fetching.add_argument("encoder", help=f"{', '.join(weights.IMAGENET)}; or a network, as unet-resnet34")
    fetch(parser.parse_args().encoder)


if __name__ == "__main__":
    run_command(main)
