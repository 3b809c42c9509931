"""Map how often each cloud pattern occurs, from a folder of dated pictures with a place.

python -m cloudseg.atlas --run runs/NAME --images worldview --out atlas
python -m cloudseg.atlas --run runs/NAME --images worldview --out atlas --cell 0.5
srun --ntasks-per-node=4 python -m cloudseg.atlas --run runs/NAME --images 2009 --out atlas-2009
python -m cloudseg.atlas --merge atlas-2009 atlas-2010 --out atlas

Predicts each picture as `cloudseg.predict` does and keeps the probabilities in RUN/probabilities, so that the same
command resumes. Days and places are those of names of NASA Worldview's form, GeoTIFF tags or world files. Writes
atlas.nc (frequencies with intervals, number of days, sums), maps as PNG, and atlas.html.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import UsageError, run_command
from cloudseg.predict import fraction


def parser() -> argparse.ArgumentParser:
    """The parser of this command."""
    out = run.parser("atlas", __doc__)
    add = out.add_argument
    add("--images", type=Path, metavar="DIR", help="folder of pictures")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the atlas")
    add("--merge", nargs="+", type=Path, metavar="DIR", help="merge these atlases of other days instead")
    add("--cell", type=float, default=1.0, metavar="DEGREES", help="size of the cells (default %(default)s)")
    add("--overlap", type=fraction, default="1/4", metavar="SHARE", help="of neighbouring scenes (default %(default)s)")
    add("--platform", metavar="NAME", help="the satellite that took the pictures")
    add("--with", dest="others", nargs="+", type=Path, default=[], metavar="RUN", help="more runs, for an ensemble")
    add("--weights", nargs="+", type=float, metavar="W", help="weight of each run (default: 1)")
    add("--thresholds", type=Path, metavar="FILE", help="rules for masks (default: RUN/evaluate/thresholds.json)")
    add("--flips", action=argparse.BooleanOptionalAction, help="average over mirror images (default: as evaluated)")
    add("--skip-damaged", action="store_true", help="leave out pictures that cannot be read")
    return out


def main() -> None:
    args = parser().parse_args()
    if args.merge:
        if args.images:
            raise UsageError("--merge A B --out DIR goes without --images")
        from cloudseg.results import atlas_output  # imports matplotlib, which --help does not need

        atlas_output.merge(args.merge, args.out)
        return
    if not args.images:
        raise UsageError("give the pictures, --images DIR, or atlases to merge, --merge A B")
    from cloudseg.results import atlas_request

    atlas_request.make(args)


if __name__ == "__main__":
    run_command(main)
