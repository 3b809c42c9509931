"""Scores of stages and runs side by side. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloudseg.data.labels import CLASSES

COLUMNS = ("run", "stage", "dice", "low", "high", "untuned", "untuned low", "untuned high", *CLASSES)


def titles(runs: Sequence[Path]) -> list[str]:
    """The names of runs; their paths if two have the same."""
    names = [path.name for path in runs]
    return names if len(set(names)) == len(names) else [str(path) for path in runs]


def table(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """A row a stage, from names of runs and their metrics.json: COLUMNS, intervals as low and high."""
    rows = [
        (
            name,
            stage,
            found["dice"],
            *found["dice_interval"],
            found["dice_untuned"],
            *found["dice_untuned_interval"],
            *(found["dice_per_class"][label] for label in CLASSES),
        )
        for name, metrics in runs
        for stage, found in metrics["per_stage"].items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
