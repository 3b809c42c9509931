"""history.csv of a stage: a row an epoch, appended on resume and never doubled."""

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
"""`loss` and what follows it is of the training images as the network met them, augmented, and changing in between;
`val_` of the validation images. `soft_`, `pooled_`: over all pixels together, at the size of training, with
probabilities or cut at 0.5, mean over the classes. `dice` and `iou`: the competition's way, mean over pairs of image
and class at 350x525, cut at 0.5. `seconds` of the epoch, validation included; `waiting_s` for batches;
`saving_s`, for which training stood still to save, since the row before."""


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
