"""Download satellite pictures of NASA by days and region, or the competition's files, on the login node.

    python -m cloudseg.fetch --days 2009-01-01..2009-03-31 --bounds -61 10 -40 24 --out PICTURES
    python -m cloudseg.fetch --days 2009-01-22 --bounds -61 10 -40 24 --out PICTURES --dry-run
    python -m cloudseg.fetch kaggle --out DIR     the files of the competition, by Kaggle's client

The pictures are those of MODIS on Terra and Aqua (true colour) that the NASA service GIBS offers. One request is sent
every 3 seconds. The same command fetches only what is missing. Next step: python -m cloudseg.predict. See
docs/fetch.md.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cloudseg.core.errors import CloudsegError, UsageError, run_command, to_type
from cloudseg.fetching import kaggle, plan, wms

EVERY, LEAST_EVERY = 3.0, 1.0
"""Seconds between two requests: by default, and at least if they go to NASA."""


def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["kaggle"]:
        given = _kaggle_parser().parse_args(words[1:])
        print(kaggle.fetch(given.out, os.environ))
        return
    given = _parse(words)
    bounds = plan.check_bounds(*given.bounds)
    days, platforms = plan.parse_days(given.days), plan.parse_platforms(given.platform)
    plan.check_days(days, platforms, datetime.datetime.now(datetime.UTC).date())
    pictures = plan.plan(days, platforms, bounds, given.resolution)
    if given.dry_run:
        _show(pictures, given)
    else:
        _fetch(pictures, given, words)


def _show(pictures: Sequence[plan.Picture], given: argparse.Namespace) -> None:
    """Print the URL of each picture, and on standard error how much there is to fetch."""
    for picture in pictures:
        print(wms.map_url(given.service, picture))
    absent = [picture for picture in pictures if not (given.out / picture.name).exists()]
    size = sum(picture.width * picture.height for picture in absent) * plan.BYTES_PER_PIXEL
    print(
        f"{len(pictures)} pictures of {pictures[0].width}x{pictures[0].height}, {len(pictures) - len(absent)} of them "
        f"in {given.out}; to fetch: {len(absent)}, about {size:.0f} bytes ({size / 1e6:.1f} MB), "
        f"at least {len(absent) * given.every:.0f} s",
        file=sys.stderr,
    )


def _fetch(pictures: Sequence[plan.Picture], given: argparse.Namespace, words: Sequence[str]) -> None:
    # Imported after the arguments are parsed, as OpenCV would delay --help and --dry-run.
    from cloudseg.fetching.client import Client
    from cloudseg.fetching.download import fetch

    done = fetch(pictures, given.out, given.service, Client(given.every, given.timeout))
    _name("without data", [f"{picture.name}: {reason}" for picture, reason in done.without_data])
    print(
        f"{given.out}: {done.fetched} pictures fetched, {done.present} were there, "
        f"{len(done.without_data)} without data"
    )
    if done.failed:
        _name("failed", [f"{picture.name}: {reason}" for picture, reason in done.failed])
        _name("not tried", [picture.name for picture in done.not_tried])
        rest = f", and {len(done.not_tried)} were not tried" if done.not_tried else ""
        raise CloudsegError(
            f"{len(done.failed)} of {len(pictures)} pictures failed{rest}; to fetch them, type later: "
            f"{to_type('cloudseg.fetch', *words)}"
        )


def _name(kind: str, lines: Sequence[str]) -> None:
    for line in lines:
        print(f"{kind}: {line}")


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.fetch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--days", nargs="+", required=True, metavar="DAY", help="2009-01-22, or 2009-01-01..2009-03-31; several"
    )
    parser.add_argument(
        "--bounds",
        nargs=4,
        type=float,
        required=True,
        metavar=("WEST", "SOUTH", "EAST", "NORTH"),
        help=f"degrees; a region larger than {plan.SCENE_WIDTH} x {plan.SCENE_HEIGHT} degrees is cut into such scenes",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--platform", default="Terra,Aqua", metavar="NAMES", help="Terra, Aqua or Terra,Aqua (default)")
    parser.add_argument(
        "--resolution",
        type=float,
        default=plan.RESOLUTION,
        metavar="DEGREES",
        help=f"degrees per pixel (default {plan.RESOLUTION}, as the competition's images)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the URLs and the number of bytes to expect; send no request"
    )
    parser.add_argument(
        "--every",
        type=float,
        default=EVERY,
        metavar="S",
        help=f"seconds between two requests (default {EVERY:.0f}, at least {LEAST_EVERY:.0f})",
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds without an answer before a retry (default 60)"
    )
    parser.add_argument("--service", default=wms.GIBS, metavar="URL", help=f"another WMS (default {wms.GIBS})")
    given = parser.parse_args(words)
    least = LEAST_EVERY if given.service == wms.GIBS else 0.0
    if not (math.isfinite(given.every) and given.every >= least):
        raise UsageError(f"--every is {given.every:g}; type {least:g} seconds or more: --every {EVERY:g}")
    if not (math.isfinite(given.timeout) and given.timeout > 0):
        raise UsageError(f"--timeout is {given.timeout:g}; type seconds, more than 0: --timeout 60")
    if not given.service.startswith(("http://", "https://")):
        raise UsageError(f"--service {given.service} is no URL; type one that begins with https://")
    return given


def _kaggle_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.fetch kaggle",
        description="Download, unpack and count the files of the competition, by Kaggle's client and your token.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the files")
    return parser


if __name__ == "__main__":
    run_command(main)
