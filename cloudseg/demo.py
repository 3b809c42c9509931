"""Write a generated data set in the competition's format, to try the toolkit without the competition's data.

    python -m cloudseg.demo --out DIR                         120 training images, 12 test images
    python -m cloudseg.demo --out DIR --images 8 --seed 1     a small data set with other clouds
    python -m cloudseg.demo --out DIR --contact-sheet A.jpg   also an overview of the four classes

Writes train_images/, train.csv, test_images/, sample_submission.csv and, last, demo.json into DIR. The same command
keeps existing files and adds missing ones. Next step:

    python -m preprocess --csv DIR/train.csv --images DIR/train_images --out DATA
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from cloudseg.core.errors import CloudsegError, UsageError, run_command

MOST_PROCESSES = 16


def main(argv: list[str] | None = None) -> None:
    given = _parse(argv)
    # Imported after the arguments are parsed, as OpenCV would delay --help.
    from cloudseg.data.synthetic.contact_sheet import write_contact_sheet
    from cloudseg.data.synthetic.dataset import Recipe, progress_on, write_dataset

    recipe = Recipe(given.images, given.test_images, given.seed)
    try:
        begun = time.monotonic()
        made = write_dataset(given.out, recipe, given.processes, progress_on(sys.stderr))
        took = f"written in {time.monotonic() - begun:.0f} s" if made else "already complete"
        print(f"{given.out}: {recipe.images} training and {recipe.test_images} test images, {took}")
        if given.contact_sheet:
            write_contact_sheet(given.out, given.contact_sheet)
            print(f"{given.contact_sheet}: two images and a close-up of each class")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CloudsegError(f"{where}{error.strerror}; the same command resumes from here") from error


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument("--images", type=int, default=120, metavar="N", help="training images (default 120)")
    parser.add_argument("--test-images", type=int, default=12, metavar="M", help="test images (default 12)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the clouds (default 0)")
    parser.add_argument(
        "--processes",
        type=int,
        metavar="P",
        help="number of processes (default: one per core; the result is the same)",
    )
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE", help="also draw examples of each class (JPEG)")
    given = parser.parse_args(argv)
    if given.processes is None:
        given.processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    for option, least in (("images", 1), ("test_images", 0), ("seed", 0), ("processes", 1)):
        if getattr(given, option) < least:
            name = option.replace("_", "-")
            raise UsageError(f"--{name} must be at least {least}, not {getattr(given, option)}")
    return given


if __name__ == "__main__":
    run_command(main)
