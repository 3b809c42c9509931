"""Segment a folder of images with a trained run, or check a submission.

python -m cloudseg.predict --run runs/NAME --images test_images --sample sample_submission.csv --out submission.csv
python -m cloudseg.predict --run runs/NAME --images DIR --out masks --format geojson --report masks.html
python -m cloudseg.predict --run runs/NAME --images DIR --out masks --format netcdf --bounds -61 10 -40 24
python -m cloudseg.predict --run runs/NAME --images GLOBAL_DAYS --out masks --format geotiff --overlap 1/3
python -m cloudseg.predict --run runs/a --with runs/b --weights 2 1 --images DIR --out submission.csv
srun --ntasks-per-node=4 python -m cloudseg.predict --run runs/NAME --images DIR --out submission.csv
python -m cloudseg.predict --check submission.csv --sample sample_submission.csv

Reads JPEG, PNG and TIFF (GeoTIFF) images of any size. Masks follow the rules that `cloudseg.evaluate` tuned. The
probability maps are kept in RUN/probabilities, so that the same command resumes, and needs no GPU for other rules.
geojson, geotiff and netcdf are in degrees if a picture has a place: in its GeoTIFF tags, a world file, a name of NASA
Worldview's form, or --bounds. Rasters of another extent than 21 x 14 degrees are then cut into overlapping scenes of
that extent, on which the network was trained; so are pictures without a place, by --scale.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import FAILED, run_command


def fraction(text: str) -> Fraction:
    """A share from 0 to 1/2, as 1/4 or 0.25. Raises ArgumentTypeError for another one."""
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if not 0 <= share <= Fraction(1, 2):
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to 1/2, as 1/4 or 0.25")
    return share


def parser() -> argparse.ArgumentParser:
    """The parser of this command."""
    out = run.parser("predict", __doc__)
    add = out.add_argument
    add("--images", type=Path, metavar="DIR", help="folder of images")
    add("--out", type=Path, metavar="FILE", help="file of the submission; with other formats, a folder")
    add("--format", choices=("csv", "png", "geojson", "geotiff", "netcdf"), default="csv", help="(default %(default)s)")
    add("--bounds", nargs=4, type=float, metavar=("W", "S", "E", "N"), help="where the pictures are, in degrees")
    add("--overlap", type=fraction, default="1/4", metavar="SHARE", help="of neighbouring scenes (default %(default)s)")
    add("--scale", type=float, default=0.0, metavar="DEGREES", help="degrees per pixel of pictures without a place")
    add("--time", metavar="TIME", help="when the pictures were taken: a day, or a time in UTC, as 2009-01-22T13:30")
    add("--platform", metavar="NAME", help="the satellite that took the pictures")
    add("--sample", type=Path, metavar="FILE", help="sample_submission.csv, which lists the rows and their order")
    add("--with", dest="others", nargs="+", type=Path, default=[], metavar="RUN", help="more runs, for an ensemble")
    add("--weights", nargs="+", type=float, metavar="W", help="weight of each run (default: 1)")
    add("--thresholds", type=Path, metavar="FILE", help="rules for masks (default: RUN/evaluate/thresholds.json)")
    add("--flips", action=argparse.BooleanOptionalAction, help="average over mirror images (default: as evaluated)")
    add("--report", type=Path, metavar="FILE", help="also write an HTML page with some of the images and masks")
    add("--skip-damaged", action="store_true", help="write empty masks for images that cannot be read")
    add("--check", type=Path, metavar="FILE", help="only print the faults of this submission")
    return out


def main() -> int | None:
    args = parser().parse_args()
    from cloudseg.results import prediction_request, submission  # import OpenCV, which --help does not need

    if args.check:
        return None if submission.print_check(args.check, args.sample) else FAILED
    prediction_request.predict(args)
    return None


if __name__ == "__main__":
    run_command(main)
