"""Which images are shown, and in which order. Pure."""

from __future__ import annotations

import pandas as pd

from cloudseg.data.labels import CLASSES

EVERY = "every image"
LABELLED, PREDICTED = "labelled", "predicted"
MISSED, INVENTED = "labelled, not predicted", "predicted, not labelled"
KINDS = (EVERY, LABELLED, PREDICTED, MISSED, INVENTED)


def chosen(table: pd.DataFrame, stage: str, label: str | None, kind: str, worst_first: bool) -> pd.Series:
    """Dice by image name, in order: of one class, or the mean of all.

    `table` is images.csv. `kind`, one of KINDS, is about that class; without one, about any.
    """
    rows = table[table["stage"] == stage].set_index("image")
    names = [label.lower()] if label else [name.lower() for name in CLASSES]
    truth = rows[[f"truth_{name}" for name in names]].to_numpy() > 0
    predicted = rows[[f"predicted_{name}" for name in names]].to_numpy() > 0
    kept = {
        EVERY: truth | True,
        LABELLED: truth,
        PREDICTED: predicted,
        MISSED: truth & ~predicted,
        INVENTED: predicted & ~truth,
    }[kind]
    dice = rows[[f"dice_{name}" for name in names]].mean(axis=1)[kept.any(axis=1)]
    return dice.sort_values(ascending=worst_first, kind="stable")
