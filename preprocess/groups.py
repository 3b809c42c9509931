"""Groups images that show the same clouds: those of one day whose regions overlap, by the names of NASA's files.

Terra and Aqua pass within hours, so the platform does not matter.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudseg.core.errors import UsageError
from cloudseg.data import csv_rows, table_file
from cloudseg.data.csv_rows import quoted
from cloudseg.data.labels import name_problem
from cloudseg.data.nasa_names import FORM, Scene, parse_scene

NAMES = "names"
"""Value of --groups for images that have the names of NASA's files."""
IMAGE, NASA_FILE = "image", "nasa_file"
"""Columns of a table of provenance; it may have others."""


@dataclass(frozen=True)
class Groups:
    """`members` has the names of the images of each group, sorted; each image is in one group. `unknown` of them have
    no NASA name and are groups of their own."""

    members: tuple[tuple[str, ...], ...]
    unknown: int

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of the groups."""
        return hashlib.sha256(repr(self.members).encode(errors="surrogateescape")).hexdigest()

    def __str__(self) -> str:
        images, largest = sum(map(len, self.members)), max(map(len, self.members))
        alone = f"; {self.unknown} of them have no NASA name and are groups of their own" if self.unknown else ""
        return f"{images} images in {len(self.members)} groups of at most {largest}{alone}"


def find_groups(names: Sequence[str], source: str) -> Groups:
    """Group the images `names`. `source` is NAMES or the path of a table of provenance.

    An image that the table does not name, or that has an empty NASA_FILE there, is grouped by its own name if that is
    the name of a NASA file. Raises UsageError for a row that is not valid, or if no image has a NASA name.
    """
    table = {} if source == NAMES else read_table(Path(source))
    scenes = {name: table.get(name) or _own_scene(name) for name in names}
    unknown = [name for name in names if scenes[name] is None]
    if len(unknown) == len(names):
        if source == NAMES:
            raise UsageError(
                f"--groups {NAMES}: no image has the name of a NASA file, {FORM}; give a table of the columns "
                f"{IMAGE},{NASA_FILE}: --groups provenance.csv"
            )
        raise UsageError(f"{source}: no row has the {NASA_FILE} of one of the {len(names)} images, as of {names[0]}")
    together: dict[Scene, list[str]] = {}
    for name, scene in scenes.items():
        if scene is not None:
            together.setdefault(scene, []).append(name)
    groups = [[name] for name in unknown]
    groups += [[name for scene in group for name in together[scene]] for group in connected(together)]
    return Groups(tuple(sorted(tuple(sorted(group)) for group in groups)), len(unknown))


def connected(scenes: Iterable[Scene]) -> list[list[Scene]]:
    """Group distinct scenes so that those that overlap, directly or through others, are in one group."""
    groups: list[list[Scene]] = []
    day_began = 0
    for scene in sorted(scenes):
        if groups and groups[-1][0].day != scene.day:
            day_began = len(groups)
        today = groups[day_began:]
        touching = [group for group in today if any(scene.overlaps(other) for other in group)]
        others = [group for group in today if group not in touching]
        groups[day_began:] = [*others, [scene, *(member for group in touching for member in group)]]
    return groups


def read_table(path: Path) -> dict[str, Scene | None]:
    """Read a table of provenance: image -> scene, None for an empty NASA_FILE.

    Raises UsageError, with file, line and field, for a row that is not valid.
    """
    scenes: dict[str, Scene | None] = {}
    lines: dict[str, int] = {}
    columns: list[str] = []
    with table_file.opened(path) as file:
        for row, line in csv_rows.rows(file):
            try:
                fields = csv_rows.split_row(line)
            except csv.Error as error:
                raise UsageError(f"{path}, line {row.line}: not a row of a CSV file: {error}") from None
            if not columns:
                columns = _checked_columns(path, fields)
                continue
            if len(fields) != len(columns):
                raise UsageError(f"{path}, line {row.line}: {len(fields)} fields instead of {len(columns)}")
            name, nasa_file = fields[columns.index(IMAGE)], fields[columns.index(NASA_FILE)].strip()
            if problem := name_problem(name):
                raise UsageError(f"{path}, line {row.line}, {IMAGE}: {quoted(name)}: {problem}")
            if name in lines:
                raise UsageError(f"{path}, line {row.line}, {IMAGE}: {quoted(name)} is on line {lines[name]} already")
            lines[name] = row.line
            try:
                scenes[name] = parse_scene(nasa_file.rpartition("/")[2])
                if nasa_file and scenes[name] is None:
                    raise ValueError(f"it is not of the form {FORM}")
            except ValueError as error:
                raise UsageError(
                    f"{path}, line {row.line}, {NASA_FILE}: {quoted(nasa_file)}: {error}; leave the field empty if the "
                    "file is not known"
                ) from None
    if not columns:
        raise UsageError(f"{path} is empty: write the header {IMAGE},{NASA_FILE} and one row per image")
    return scenes


def _checked_columns(path: Path, fields: list[str]) -> list[str]:
    columns = [field.strip() for field in fields]
    for column in (IMAGE, NASA_FILE):
        if columns.count(column) != 1:
            raise UsageError(
                f"{path}, line 1: the header {quoted(','.join(fields))} must have the column {column} once; give a "
                f"table with the columns {IMAGE},{NASA_FILE}"
            )
    return columns


def _own_scene(name: str) -> Scene | None:
    try:
        return parse_scene(name)
    except ValueError as error:
        raise UsageError(f"--groups: the image {quoted(name)} has the form of a NASA name, but {error}") from None
