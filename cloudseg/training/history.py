"""history.csv of a stage: a row an epoch, appended on resume and never doubled."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from cloudseg import atomic
from cloudseg.data.labels import CLASSES

COLUMNS = (
    "epoch", "step", "lr", "loss", "val_loss", "dice",
    *(f"dice_{name.lower()}" for name in CLASSES),
    "images_per_s", "seconds",
)  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    """The rows that are there, oldest first; none if the stage has not finished an epoch."""
    try:
        with path.open(newline="") as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError:
        return []


def append(path: Path, row: dict[str, float]) -> None:
    """Add the row of an epoch; rows of that epoch and later ones, from before an interruption, go."""
    rows = [old for old in read(path) if int(old["epoch"]) < row["epoch"]]
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    atomic.write(path, out.getvalue().encode())
