"""Reads and writes history.csv of a stage: one row per epoch, also after a resume."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.data.labels import CLASSES

COLUMNS = (
    "epoch", "step", "lr",
    "loss", "soft_dice", "pooled_dice", "pooled_iou",
    "val_loss", "val_soft_dice", "val_pooled_dice", "val_pooled_iou",
    "dice", *(f"dice_{name.lower()}" for name in CLASSES), "iou",
    "images_per_s", "seconds", "waiting_s", "saving_s",
)  # fmt: skip
"""Columns of history.csv. `loss` to `pooled_iou` are of the augmented training images, averaged over the steps of the
epoch; `val_` columns are of the validation images. `soft_` scores use probabilities, `pooled_` scores masks at 0.5;
both are over all pixels together at the training size, mean over the classes. `dice` and `iou` are the competition's
scores: the mean over pairs of image and class at 350x525, masks at 0.5. `seconds` is the duration of the epoch with
validation, `waiting_s` the part spent waiting for batches, `saving_s` the time that training waited for checkpoints
since the previous row."""


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows, oldest first; an empty list if the stage has not finished an epoch."""
    try:
        with path.open(newline="") as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError:
        return []


def append(path: Path, row: dict[str, float]) -> None:
    """Add the row of an epoch. Rows of this and later epochs, written before an interruption, are removed."""
    rows = [old for old in read(path) if int(old["epoch"]) < row["epoch"]]
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    atomic.write(path, out.getvalue().encode())
