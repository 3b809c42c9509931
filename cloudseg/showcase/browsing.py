"""Selects and sorts the images to show. Pure."""

from __future__ import annotations

import pandas as pd

from cloudseg.data.labels import CLASSES

EVERY = "every image"
LABELLED, PREDICTED = "labelled", "predicted"
FALSE_NEGATIVE, FALSE_POSITIVE = "labelled, not predicted", "predicted, not labelled"
KINDS = (EVERY, LABELLED, PREDICTED, FALSE_NEGATIVE, FALSE_POSITIVE)


def select(table: pd.DataFrame, stage: str, label: str | None, kind: str, worst_first: bool) -> pd.Series:
    """Select images of a stage: a series of Dice by image name, sorted by Dice.

    `table` is images.csv. With a class `label`, Dice and `kind` (one of KINDS) are of that class; without one, Dice is
    the mean over the classes, and an image is selected if `kind` holds for any class.
    """
    rows = table[table["stage"] == stage].set_index("image")
    names = [label.lower()] if label else [name.lower() for name in CLASSES]
    truth = rows[[f"truth_{name}" for name in names]].to_numpy() > 0
    predicted = rows[[f"predicted_{name}" for name in names]].to_numpy() > 0
    kept = {
        EVERY: truth | True,
        LABELLED: truth,
        PREDICTED: predicted,
        FALSE_NEGATIVE: truth & ~predicted,
        FALSE_POSITIVE: predicted & ~truth,
    }[kind]
    dice = rows[[f"dice_{name}" for name in names]].mean(axis=1)[kept.any(axis=1)]
    return dice.sort_values(ascending=worst_first, kind="stable")
