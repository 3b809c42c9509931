"""`python -m preprocess`: convert JPEG images and the competition's train.csv to shards."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloudseg.core.errors import run_command
from cloudseg.data import image_size
from preprocess.groups import NAMES
from preprocess.settings import Settings, available_cpus

EXAMPLES = """\
examples:
  python -m preprocess --csv train.csv --images train_images --out data/320x480
  python -m preprocess --csv train.csv --images train_images --out data/640x960 --size 640x960
  # one shard per task of a job array (sbatch --array=0-63):
  python -m preprocess --csv train.csv --images train_images --out data/320x480 --shards 64 \\
      --shard-index $SLURM_ARRAY_TASK_ID
  # images of the same clouds in one fold:
  python -m preprocess --csv train.csv --images train_images --out data/320x480 --groups provenance.csv
  python -m preprocess --verify data/320x480
  python -m preprocess --sheet data/320x480 --out sheet.jpg

If it is killed or the disk is full, the same command resumes from there.
DATA/rejected.csv lists the rejected rows and images with the reasons.
"""


def positive(text: str) -> int:
    """Argparse type of a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def parse() -> argparse.Namespace:
    """Parse the command line: a label table, --images and --out; or --verify; or --sheet and --out."""
    parser = argparse.ArgumentParser(
        prog="python -m preprocess",
        description=__doc__.partition(": ")[2],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--csv", type=Path, metavar="train.csv", help="the competition's label table")
    source.add_argument(
        "--boxes", type=Path, metavar="FILE", help="instead of --csv: the published boxes of all labellers"
    )
    source.add_argument("--verify", type=Path, metavar="DATA", help="only check every digest of DATA")
    source.add_argument("--sheet", type=Path, metavar="DATA", help="only draw some samples of DATA into --out")
    add("--images", type=Path, metavar="DIR", help="folder of the 2100x1400 JPEGs")
    add("--out", type=Path, metavar="DATA", help="folder for the shards; with --sheet, the image file")
    add(
        "--size",
        type=image_size.argument,
        default="{}x{}".format(*Settings.size),
        metavar="HxW",
        help="stored height and width, multiples of 32 (default: %(default)s)",
    )
    add(
        "--label-size",
        type=image_size.labels,
        metavar="HxW",
        help="height and width of the masks or boxes in the table, if not 1400x2100: they are scaled up",
    )
    add("--shards", type=positive, metavar="N", help="number of shards (default: about 64 MB each)")
    add("--shard-index", type=int, metavar="I", help="make only this shard, from 0")
    add(
        "--workers",
        type=positive,
        default=available_cpus(),
        metavar="W",
        help="number of processes (default: the available CPUs, %(default)s here)",
    )
    add("--folds", type=positive, default=Settings.folds, metavar="K", help="number of folds (default: %(default)s)")
    add(
        "--seed",
        type=int,
        default=Settings.seed,
        metavar="S",
        help="seed of folds and order (default: %(default)s)",
    )
    add(
        "--groups",
        metavar="FILE",
        help="put images of the same day and overlapping regions into one fold; FILE: a table of the columns "
        f"image,nasa_file, or `{NAMES}` if the images have the names of NASA's files",
    )
    add("--allow-resize", action="store_true", help="accept images of other sizes; labels are scaled with them")
    add("--strict", action="store_true", help="stop at the first row or image that is rejected")
    args = parser.parse_args()
    if args.sheet and not args.out:
        parser.error("give the image file with --out sheet.png")
    if (args.csv or args.boxes) and not (args.images and args.out):
        parser.error("give the images with --images DIR and a folder for the shards with --out DATA")
    return args


def main() -> None:
    """Make, verify or draw shards, and print a summary."""
    args = parse()
    # Imported after the arguments are parsed: OpenCV and HDF5 import slowly from a shared file system.
    from cloudseg.data.boxes import BoxTable
    from cloudseg.data.labels import RunTable
    from preprocess.build import build
    from preprocess.sheet import write_sheet
    from preprocess.verify import verify

    if args.verify:
        print(verify(args.verify, args.workers))
        return
    if args.sheet:
        print(write_sheet(args.sheet, args.out))
        return

    settings = Settings(
        table=RunTable(args.csv, args.label_size) if args.csv else BoxTable(args.boxes, args.label_size),
        images=args.images,
        out=args.out,
        size=image_size.parse(args.size),
        shards=args.shards,
        folds=args.folds,
        seed=args.seed,
        allow_resize=args.allow_resize,
        groups=args.groups,
    )
    print(build(settings, args.shard_index, args.workers, args.strict))


if __name__ == "__main__":
    run_command(main)
