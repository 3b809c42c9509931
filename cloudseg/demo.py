"""Write a generated data set in the competition's format, to try everything without the competition's data.

    python -m cloudseg.demo --out DIR                         120 images to train with, 12 to predict
    python -m cloudseg.demo --out DIR --images 8 --seed 1     a small one, with other clouds
    python -m cloudseg.demo --out DIR --contact-sheet A.jpg   and a picture of what is in it

DIR gets train_images/, train.csv, test_images/, sample_submission.csv and, last, demo.json. The same command
again keeps what is there and adds what is missing. To go on from here:

    python -m preprocess --csv DIR/train.csv --images DIR/train_images --out DATA
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from cloudseg.core.errors import CloudsegError, UsageError, run_command

MOST_PROCESSES = 16


def main(argv: list[str] | None = None) -> None:
    given = _parse(argv)
    # OpenCV only once the arguments are right: --help answers at once.
    from cloudseg.data.synthetic.dataset import Recipe, write_dataset

    recipe = Recipe(given.images, given.test_images, given.seed)
    try:
        begun = time.monotonic()
        made = write_dataset(given.out, recipe, given.processes, progress_on(sys.stderr))
        took = f"written in {time.monotonic() - begun:.0f} s" if made else "there already"
        print(f"{given.out}: {recipe.images} training and {recipe.test_images} test images, {took}")
        if given.contact_sheet:
            _write_contact_sheet(given.out, given.contact_sheet)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CloudsegError(f"{where}{error.strerror}; the same command goes on from here") from error


def progress_on(stream: TextIO) -> Callable[[int, int], None]:
    """Shows how much is done: a bar that grows on a terminal, elsewhere a line about every tenth."""
    terminal = stream.isatty()

    def show(done: int, of: int) -> None:
        if terminal:
            bar, end = "#" * (40 * done // of), "\n" if done == of else ""
            print(f"\r[{bar:<40}] {done}/{of} images", end=end, file=stream, flush=True)
        elif 10 * done // of > 10 * (done - 1) // of:
            print(f"{done} of {of} images", file=stream, flush=True)

    return show


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cloudseg.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument("--images", type=int, default=120, metavar="N", help="training images (default 120)")
    parser.add_argument("--test-images", type=int, default=12, metavar="M", help="test images (default 12)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="other seed, other clouds (default 0)")
    parser.add_argument(
        "--processes",
        type=int,
        metavar="P",
        help="painters at once (default: one a core, the result is the same)",
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


def _write_contact_sheet(folder: Path, file: Path) -> None:
    import cv2

    from cloudseg.data.synthetic.contact_sheet import contact_sheet

    jpeg = cv2.imencode(".jpg", contact_sheet(folder), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(jpeg.tobytes())
    print(f"{file}: two images and a close-up of each class")


if __name__ == "__main__":
    run_command(main)
