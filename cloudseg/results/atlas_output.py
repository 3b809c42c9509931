"""The folder of an atlas: written from sums, and merged from other atlases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.core.errors import DataError, UsageError
from cloudseg.geo import atlas_file, climatology
from cloudseg.geo.climatology import Sums
from cloudseg.results import atlas_page

FILE, PAGE = "atlas.nc", "atlas.html"


def merge(parts: Sequence[Path], out: Path) -> None:
    """Merge the atlases in the folders `parts` into one in `out`. Raises DataError for a folder without an atlas,
    UsageError if two have a day in common or other cells."""
    read = []
    for part in parts:
        path = part / FILE
        try:
            read.append(atlas_file.decode(path.read_bytes()))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}; give folders of atlases: --merge A B") from None
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
    try:
        sums = climatology.merge(read)
    except ValueError as error:
        raise UsageError(f"{', '.join(map(str, parts))} cannot be merged: {error}") from None
    publish(sums, {}, out)
    print(f"{out}: {len(sums.days)} days of {len(parts)} atlases; open {out / PAGE}", flush=True)


def publish(sums: Sums, about: dict[str, str], out: Path) -> None:
    """Write atlas.nc, the maps and the page."""
    out.mkdir(parents=True, exist_ok=True)
    atomic.write(out / FILE, atlas_file.encode(sums, about))
    pictures = atlas_page.figures(sums)
    for name, content in pictures.items():
        atomic.write(out / f"{name}.png", content)
    atomic.write(out / PAGE, atlas_page.page(sums, about, pictures).encode())
